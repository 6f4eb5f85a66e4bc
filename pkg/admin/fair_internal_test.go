// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAClientIsAnAddressOrAnIPv6Network(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.7:443":                "10.0.0.7/32",
		"127.0.0.2:1":                 "127.0.0.2/32",
		"[::ffff:10.0.0.7]:443":       "10.0.0.7/32",
		"[2001:db8:1:2:3:4:5:6]:443":  "2001:db8:1:2::/64",
		"[2001:db8:1:2::7]:443":       "2001:db8:1:2::/64",
		"[::1]:443":                   "::/64",
		"[fe80::7%eth0]:443":          "fe80::7/128",
		"[fe80::8%eth0]:443":          "fe80::8/128",
		"[fd00:0:0:1:ffff::1]:443":    "fd00:0:0:1::/64",
		"[2001:db8:1:3::1%eth0]:2047": "2001:db8:1:3::/64",
	} {
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(remote))
		if got := clientOf(at).String(); got != want {
			t.Errorf("%s is %s, want %s", remote, got, want)
		}
	}
}

// TestTheGreediestClientLosesItsOldestConnection admits connections one after the other. Each is written as its client, in
// capitals if its request is complete, with a number.
func TestTheGreediestClientLosesItsOldestConnection(t *testing.T) {
	for _, tt := range []struct {
		name         string
		limit, share int
		open         string
		next         string
		closed, left string
	}{
		{"below every limit nothing is closed", 4, 2, "a1 b1", "a2", "", "a1 b1 a2"},
		{"beyond its share a client loses its own oldest", 8, 2, "a1 b1 a2", "a3", "a1", "b1 a2 a3"},
		{"an answer of its own is kept", 8, 2, "A1 b1 a2", "a3", "a2", "A1 b1 a3"},
		{"if all of its share are answers the new one is refused", 8, 2, "A1 b1 A2", "a3", "a3", "A1 b1 A2"},
		{"if all are open, the client with the most loses its oldest", 4, 3, "b1 a1 a2 a3", "c1", "a1", "b1 a2 a3 c1"},
		{"that is one without a request", 4, 3, "b1 A1 a2 A3", "c1", "a2", "b1 A1 A3 c1"},
		{"or else an answer, if the client keeps more than the other would", 4, 3, "b1 A1 A2 A3", "c1", "A1", "b1 A2 A3 c1"},
		{"the answers of clients with one each are kept", 3, 3, "A1 B1 C1", "d1", "d1", "A1 B1 C1"},
		{"of clients with one each, the oldest without a request is closed", 3, 3, "A1 b1 c1", "d1", "b1", "A1 c1 d1"},
		{"a client takes nothing from one with fewer", 4, 3, "b1 A1 A2 c1", "a3", "a3", "b1 A1 A2 c1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newFairListener(nil, tt.limit, func(netip.Prefix, bool) {})
			l.share = tt.share
			names := make(map[*fairConn]string)
			conn := func(name string) *fairConn {
				c := &fairConn{listener: l, answers: name[0] < 'a', from: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, strings.ToLower(name)[0]}), 32)}
				names[c] = name
				return c
			}
			for name := range strings.FieldsSeq(tt.open) {
				l.open = append(l.open, conn(name))
			}
			closed := names[l.admit(conn(tt.next))]
			var left []string
			for _, c := range l.open {
				left = append(left, names[c])
			}
			if diff := cmp.Diff([]string{tt.closed, tt.left}, []string{closed, strings.Join(left, " ")}); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// serveScrapes serves a Scrape without a reaper on all loopback addresses, and returns its port.
func serveScrapes(t *testing.T) string {
	t.Helper()
	l, err := ListenTCP(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewScrape(slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("it served until %v", err)
		}
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// dialFrom connects from a loopback address to a server's port.
func dialFrom(ctx context.Context, from, port string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.DialContext(ctx, "tcp", "127.0.0.1:"+port)
}

// scrapeFrom requests /metrics from a loopback address, and returns the status.
func scrapeFrom(t *testing.T, from, port string) int {
	t.Helper()
	client := http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialFrom(ctx, from, port) },
		},
	}
	resp, err := client.Get("http://metrics/metrics")
	if err != nil {
		t.Errorf("a scrape from %s: %v", from, err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("a scrape from %s: %v", from, err)
	}
	return resp.StatusCode
}

// TestAGreedyClientKeepsNoScraperOut has 256 connections of one client, each opened again as soon as it ends, and scrapes from
// other addresses.
func TestAGreedyClientKeepsNoScraperOut(t *testing.T) {
	t.Parallel()
	const clients, scrapes = 256, 20
	for _, tt := range []struct {
		name  string
		spoil func(ctx context.Context, conn net.Conn)
	}{
		{"clients that send nothing", func(_ context.Context, conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
		}},
		{"clients that send a header byte by byte", func(ctx context.Context, conn net.Conn) {
			for _, b := range []byte("GET /metrics HTTP/1.1\r\nHost: " + strings.Repeat("a", 4096)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}},
		{"clients that ask and do not read", func(ctx context.Context, conn net.Conn) {
			_ = conn.(*net.TCPConn).SetReadBuffer(1)
			_, _ = io.WriteString(conn, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 10)) // pipelined
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveScrapes(t)
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			defer all.Wait()
			defer cancel()
			var first sync.WaitGroup
			first.Add(clients)
			for range clients {
				all.Go(func() {
					opened := sync.OnceFunc(first.Done)
					defer opened()
					for ctx.Err() == nil {
						conn, err := dialFrom(ctx, "127.0.0.2", port)
						if err != nil {
							continue
						}
						opened()
						stop := context.AfterFunc(ctx, func() { conn.Close() })
						tt.spoil(ctx, conn)
						stop()
						conn.Close()
					}
				})
			}
			first.Wait()
			for i := range scrapes {
				from := fmt.Sprintf("127.0.0.%d", 3+i%3)
				if got := scrapeFrom(t, from, port); got != http.StatusServiceUnavailable { // no reaper runs here
					t.Errorf("scrape %d, from %s: status %d", i, from, got)
				}
			}
		})
	}
}
