// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
)

// raw sends the text of a request over TCP, and returns the answer.
func (n *node) raw(request string) (*http.Response, string) {
	n.tb.Helper()
	conn, err := net.Dial("tcp", n.tcp)
	if err != nil {
		n.tb.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		n.tb.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		n.tb.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		n.tb.Fatalf("%.80q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge { // the server does not read a request that is too large to its end
		n.tb.Fatalf("%.80q: %v", request, err)
	}
	return resp, string(body)
}

func TestOnlyMetricsAndHealthAreServedOverTCP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, path := range []string{
		"/", "//", "/v1/status", "/v1/sockets", "/v1/history", "/v1/mode", "/v1/handover", "/debug/pprof/", "/debug/pprof/heap",
		"//metrics", "/metrics/", "/metrics//", "/./metrics", "/metrics/.", "/METRICS", "/metrics%00", "/metrics%20", "/metrics%2f",
		"/metrics/../v1/status", "/healthz/../v1/status", "/healthz/%2e%2e/v1/status", "/metrics/..%2fv1%2fstatus", "//v1/status",
		"/v1/status?/metrics", "/v1/status#/metrics", "/metrics;/v1/status", "http://reaper/v1/status", "http://reaper//v1/status", "http://reaper",
	} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "BREW"} {
			resp, body := n.raw(method + " " + path + " HTTP/1.1\r\nHost: reaper\r\nContent-Length: 0\r\n\r\n")
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, body)
			}
		}
	}
	for _, request := range []string{"OPTIONS *", "CONNECT reaper:80"} {
		resp, body := n.raw(request + " HTTP/1.1\r\nHost: reaper\r\n\r\n")
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d: %s", request, resp.StatusCode, body)
		}
	}
	for _, path := range []string{"/metrics", "/healthz"} {
		for _, method := range []string{"PUT", "POST", "DELETE", "OPTIONS", "BREW"} {
			resp, body := n.raw(method + " " + path + " HTTP/1.1\r\nHost: reaper\r\nContent-Length: 0\r\n\r\n")
			if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q: %s", method, path, resp.StatusCode, resp.Header.Get("Allow"), body)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			if resp, body := n.raw(method + " " + path + " HTTP/1.1\r\nHost: reaper\r\n\r\n"); resp.StatusCode != http.StatusOK || method == "GET" && body == "" {
				t.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, body)
			}
		}
	}
	if s, err := n.Status(t.Context()); err != nil || s.Mode.Switch != nil {
		t.Errorf("a request over TCP has changed the mode: %+v, %v", s.Mode, err)
	}
}

func TestEachConnectionIsForOneRequestOfBoundedSize(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if resp, _ := n.raw("GET /healthz HTTP/1.1\r\nHost: reaper\r\nConnection: keep-alive\r\n\r\n"); !resp.Close {
		t.Error("the connection is kept")
	}
	if resp, _ := n.raw("GET /healthz HTTP/1.1\r\nHost: reaper\r\nX: " + strings.Repeat("x", 13<<10) + "\r\n\r\n"); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 13 KiB: status %d", resp.StatusCode)
	}
}

// TestSilentClientsAreDisconnected opens more connections than are served at once, and sends no request or half of one.
func TestSilentClientsAreDisconnected(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i := range 80 {
		conn, err := net.Dial("tcp", n.tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: reaper\r\n"); err != nil { // and no more
				t.Fatal(err)
			}
		}
	}
	if a := n.get("/healthz"); a.code != http.StatusOK {
		t.Errorf("on the unix socket: status %d: %s", a.code, a.body)
	}
	client := http.Client{Timeout: patience}
	if a := n.do(&client, http.MethodGet, "http://"+n.tcp+"/metrics", ""); a.code != http.StatusOK {
		t.Errorf("a scrape: status %d: %s", a.code, a.body)
	}
}

// TestConcurrentScrapersShareAResult checks that the load on the reaper does not grow with their number.
func TestConcurrentScrapersShareAResult(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const scrapers = 24 // fewer than one address may have
	texts := make(chan string, scrapers)
	began := time.Now()
	var all sync.WaitGroup
	for range scrapers {
		all.Go(func() { texts <- n.getTCP("/metrics").body })
	}
	all.Wait()
	seconds := int(time.Since(began)/time.Second) + 2 // that have begun
	close(texts)
	different := make(map[string]bool)
	for text := range texts {
		different[text] = true // each result has another CPU time
	}
	if len(different) > seconds {
		t.Errorf("%d scrapers got %d different answers within %d seconds", scrapers, len(different), seconds)
	}
	first := n.getTCP("/metrics").body
	nstest.Eventually(t, patience, "a later scrape is another", func() bool { return n.getTCP("/metrics").body != first })
}

func TestWithoutAReaperAScrapeGetsTheReason(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.scrape.SetUnavailable("the reaper waits for its turn")
	for _, path := range []string{"/metrics", "/healthz"} {
		if a := n.getTCP(path); a.code != http.StatusServiceUnavailable || a.wrong(t) != "the reaper waits for its turn" {
			t.Errorf("%s: status %d: %s", path, a.code, a.body)
		}
	}
	n.scrape.SetServer(n.server)
	for _, path := range []string{"/metrics", "/healthz"} {
		if a := n.getTCP(path); a.code != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, a.code, a.body)
		}
	}
}

func TestTheErrorOfAMetricsAddressHasAdvice(t *testing.T) {
	t.Parallel()
	taken, err := admin.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		taken.Addr().String():            "another process, perhaps another reaper, listens there",
		"192.0.2.1:20470":                "this machine does not have that address", // of TEST-NET-1 (RFC 5737)
		"no-such-name.invalid:20470":     "no-such-name.invalid",
		"127.0.0.1:no-such-service-name": "no-such-service-name",
	} {
		l, err := admin.ListenTCP(t.Context(), address)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", address)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, address) || strings.Contains(text, "\n") {
			t.Errorf("%s: %s", address, text)
		}
	}
}
