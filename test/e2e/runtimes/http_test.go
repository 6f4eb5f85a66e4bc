// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// long is the answer that is read slowly: it fits the client's buffer, so that the server has closed long
// before the client has read it.
const long = 50_000

// serveHTTP serves in a pod until the test ends, and returns the URL. It closes idle connections testnode.Patience.
func serveHTTP(t *testing.T, p *pod, handle http.HandlerFunc) string {
	t.Helper()
	var l net.Listener
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	err := p.inside(func() (err error) {
		l, err = lc.Listen(t.Context(), "tcp4", p.addr+":80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handle, IdleTimeout: 100 * time.Millisecond}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + p.addr
}

// answer is a short answer on a connection that could be used again, or the long one on a connection that ends
// with it.
func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/long" {
		return
	}
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", strconv.Itoa(long))
	_, _ = w.Write(bytes.Repeat([]byte("x"), long)) // the client reports its result
}

// pools tests a client with a pool of connections that the server has closed.
func pools(library string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		client, server := s.box(t, "client", leaks()), s.box(t, "server", waits())
		url := serveHTTP(t, server, answer)
		p := client.exec(t, "/usr/bin/python3", "testdata/pool.py", library, url)
		if code := p.line(t); code != "200" {
			t.Fatalf("the first answer is %s", code)
		}
		entries := s.destroyedIn(client)
		if e := entries[0]; e.State != inetdiag.CloseWait || e.Owners[0].Command != "python3" {
			t.Errorf("the history says %+v", e)
		}
		s.outlives(t, client, inetdiag.CloseWait, policy.Progressing, policy.UnreadData)
		if _, err := io.WriteString(p.in, "again\n"); err != nil {
			t.Fatal(err)
		}
		if code := p.line(t); code != "200" {
			t.Errorf("with its pooled connection destroyed, the answer is %s", code)
		}
		if total := p.line(t); total != strconv.Itoa(long) {
			t.Errorf("of the long answer came %s bytes", total)
		}
	}
}

// clientIn is Go's HTTP client in a pod.
func clientIn(t *testing.T, p *pod) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = p.inside(func() (err error) {
			d := net.Dialer{KeepAlive: -1}
			d.SetMultipathTCP(false)
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// httpBody leaves an answer's body open, which keeps a connection that the server has closed.
func httpBody(t *testing.T, s *site) {
	client, server := s.box(t, "client", leaks()), s.box(t, "server", waits())
	url := serveHTTP(t, server, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.URL.Path == "/long" {
			answer(w, r)
			return
		}
		_, _ = io.WriteString(w, "short")
	})
	c := clientIn(t, client)
	leaked, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Body.Close()
	slow, err := c.Get(url + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	total := make(chan int, 1)
	go func() {
		n, b := 0, make([]byte, 2000)
		for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C {
			m, err := slow.Body.Read(b)
			n += m
			if err != nil {
				tick.Stop()
				total <- n
				return
			}
		}
	}()
	if e := s.destroyedIn(client)[0]; e.State != inetdiag.CloseWait {
		t.Errorf("the history says %+v", e)
	}
	s.outlives(t, client, inetdiag.CloseWait, policy.Progressing, policy.UnreadData)
	if n := <-total; n != long {
		t.Errorf("of the long answer came %d bytes", n)
	}
	if b, err := io.ReadAll(leaked.Body); string(b) != "short" {
		t.Errorf("the body that was left open is %q: %v", b, err)
	}
}

// httpHandler is for clients that shut down their sending side after the request. One handler answers within the grace,
// as it would without halfclose; the other never answers, and keeps a connection in CLOSE_WAIT.
func httpHandler(t *testing.T, s *site) {
	client, server := s.box(t, "client", waits()), s.box(t, "server", leaks())
	end := make(chan struct{})
	serveHTTP(t, server, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-end
			return
		}
		// Bytes move now and then for longer than the grace.
		for range 8 {
			_, _ = io.WriteString(w, "part\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(grace / 4)
		}
	})
	defer close(end)
	ask := func(path string) *net.TCPConn {
		var conn net.Conn
		err := client.inside(func() (err error) {
			d := net.Dialer{KeepAlive: -1}
			d.SetMultipathTCP(false)
			conn, err = d.Dial("tcp4", server.addr+":80")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.0\r\nHost: "+server.addr+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn)
	}
	ask("/stuck")
	slow := ask("/slow")
	text, err := io.ReadAll(slow)
	if n := bytes.Count(text, []byte("part\n")); err != nil || n != 8 {
		t.Errorf("of the slow answer came %d parts of 8: %v", n, err)
	}
	entries := s.destroyedIn(server)
	if len(entries) != 1 || entries[0].State != inetdiag.CloseWait {
		t.Errorf("the history says %+v", entries)
	}
}
