// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// deadlineListener records the latest write deadline of its connections.
type deadlineListener struct {
	net.Listener
	mu     sync.Mutex
	latest time.Time
}

func (l *deadlineListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return deadlineConn{conn, l}, err
}

type deadlineConn struct {
	net.Conn
	listener *deadlineListener
}

func (c deadlineConn) SetWriteDeadline(t time.Time) error {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if t.After(c.listener.latest) {
		c.listener.latest = t
	}
	return c.Conn.SetWriteDeadline(t)
}

// TestAScraperHasLimitedTimeForAWholeAnswer checks that no write extends the deadline: a client that reads a few bytes a
// minute must not keep one of the few connections.
func TestAScraperHasLimitedTimeForAWholeAnswer(t *testing.T) {
	tcp, err := ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &deadlineListener{Listener: tcp}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- NewScrape(slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + tcp.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	answered := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit := answered.Add(tcpWriteTimeout); l.latest.IsZero() || l.latest.After(limit) {
		t.Errorf("the write deadline is %v, which is %v after the limit of %v", l.latest, l.latest.Sub(limit), tcpWriteTimeout)
	}
}
