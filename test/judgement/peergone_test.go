// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestSocketWithUnreadCloseNotifyIsClosedOnceItsPeerIsGone has a client that reads its answer over TLS and then stops
// reading. The server of another connection has also sent its close_notify, but only shut down its sending side, and
// still reads.
func TestSocketWithUnreadCloseNotifyIsClosedOnceItsPeerIsGone(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "client", `{"probeAfter": "1s"}`)
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				r, s := r.in(t), s.in(t)
				leaked, computing := s.connect(), s.connect()
				server, other := overTLS(t, leaked, version), overTLS(t, computing, version)
				if err := other.CloseWrite(); err != nil { // sends the close_notify and leaves TCP as it is
					t.Fatal(err)
				}
				s.shut(computing.Server, computing.Client)
				if err := server.Close(); err != nil {
					t.Fatal(err)
				}
				awaitState(t, closeWait, leaked.Client)
				left := unread(t, leaked.Client)
				if left == 0 || left != unread(t, computing.Client) {
					t.Fatalf("%d bytes of a close_notify are unread at one client, %d at the other", left, unread(t, computing.Client))
				}
				r.reset(leaked.Client, left)
				r.untouched(closeWait, computing.Client)
				answers(t, computing.Client, computing.Server)
			})
		}
	})
}

// overTLS lets a pair speak TLS: one request, and one answer that the client reads.
func overTLS(t *testing.T, p nstest.Pair, version uint16) (server *tls.Conn) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: version, MaxVersion: version}
	server = tls.Server(p.Server, config)
	client := tls.Client(p.Client, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(server, make([]byte, 4))
		if err == nil {
			_, err = server.Write([]byte("pong"))
		}
		ended <- err
	}()
	_, err := client.Write([]byte("ping"))
	if err == nil {
		_, err = io.ReadFull(client, make([]byte, 4))
	}
	if served := <-ended; err != nil || served != nil {
		t.Fatalf("exchange over TLS: %v, %v", err, served)
	}
	return server
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestPooledSocketWithUnreadBytesIsClosedOnceItsPeerIsGone has the unread bytes that HTTP/1.1 and HTTP/2 servers send
// before they close an idle connection. A server that sends the same bytes but only shuts down its sending side is
// alive.
func TestPooledSocketWithUnreadBytesIsClosedOnceItsPeerIsGone(t *testing.T) {
	// A frame header (length, type GOAWAY, no flags, stream 0), the last stream 1, NO_ERROR and text.
	goaway := append([]byte{0, 0, 38, 7, 0, 0, 0, 0, 0}, binary.BigEndian.AppendUint64(nil, 1<<32)...)
	goaway = append(goaway, "connection idle for 60 seconds"...)
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "client", `{"probeAfter": "1s"}`)
		for name, tt := range map[string]struct {
			farewell []byte
			bytes    int
		}{
			"HTTP 408": {[]byte("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"), 51},
			"GOAWAY":   {goaway, 47},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s := r.in(t), s.in(t)
				leaked, computing := s.connect(), s.connect()
				for _, server := range []*net.TCPConn{leaked.Server, computing.Server} {
					if _, err := server.Write(tt.farewell); err != nil {
						t.Fatal(err)
					}
				}
				s.shut(computing.Server, computing.Client)
				if err := leaked.Server.Close(); err != nil {
					t.Fatal(err)
				}
				awaitState(t, closeWait, leaked.Client)
				if got := unread(t, leaked.Client); got != tt.bytes {
					t.Fatalf("%d bytes are unread, want %d", got, tt.bytes)
				}
				r.reset(leaked.Client, tt.bytes)
				r.untouched(closeWait, computing.Client)
				answers(t, computing.Client, computing.Server)
			})
		}
	})
}

// TestClosedPeerIsDistinguishedFromOneThatShutItsSide has two connections with the same policy and nothing unread.
func TestClosedPeerIsDistinguishedFromOneThatShutItsSide(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "client", `{"probeAfter": "1s"}`)
		left, waiting := s.connect(), s.leftByServer()
		before := options(t, waiting.Client)
		if err := left.Server.Close(); err != nil {
			t.Fatal(err)
		}
		r.reset(left.Client, 0)
		r.awaitView(waiting.Client, "it has been half-closed for ten seconds", func(v api.SocketView) bool {
			return v.Age != nil && time.Duration(*v.Age) >= 10*time.Second
		})
		r.awaitVerdict(waiting.Client, policy.PeerAlive)
		r.untouched(closeWait, waiting.Client)
		answers(t, waiting.Client, waiting.Server)
		r.stop() // so that no question is out
		if after := options(t, waiting.Client); after != before {
			t.Errorf("the socket's options are %v, and were %v", after, before)
		}
	})
}

// TestResponseSlowerThanProbeAfterArrives has a client that sends a request, shuts down its sending side and waits.
func TestResponseSlowerThanProbeAfterArrives(t *testing.T) {
	const request = "POST /sum HTTP/1.1\r\nHost: far\r\nContent-Length: 5\r\nConnection: close\r\n\r\n1,2,3"
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n6"
	eachFinder(t, func(t *testing.T, finder string) {
		for name, judged := range map[string]struct {
			connect func(*scene) nstest.Pair
			end     func(nstest.Pair) *net.TCPConn
		}{
			"the client in FIN_WAIT2":  {(*scene).connect, func(p nstest.Pair) *net.TCPConn { return p.Client }},
			"the server in CLOSE_WAIT": {(*scene).accept, func(p nstest.Pair) *net.TCPConn { return p.Server }},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s := newReaper(t, finder), newScene(t)
				r.register(s.near, "pod", `{"probeAfter": "1s"}`)
				p := judged.connect(s)
				if _, err := p.Client.Write([]byte(request)); err != nil {
					t.Fatal(err)
				}
				s.shut(p.Client, p.Server)
				if got, err := io.ReadAll(p.Server); err != nil || string(got) != request {
					t.Fatalf("the server reads %q, %v", got, err)
				}
				r.awaitView(judged.end(p), "its peer was asked twice", func(v api.SocketView) bool {
					return v.Verdict == policy.PeerAlive && v.Idle != nil && time.Duration(*v.Idle) > 3*time.Second
				})
				if _, err := p.Server.Write([]byte(response)); err != nil {
					t.Errorf("the server's answer: %v", err)
				}
				if err := p.Server.Close(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(p.Client); err != nil || !bytes.Equal(got, []byte(response)) {
					t.Errorf("the client reads %q, %v", got, err)
				}
				if e, ok := r.entry(judged.end(p)); ok {
					t.Errorf("it is in the history: %+v", e)
				}
			})
		}
	})
}
