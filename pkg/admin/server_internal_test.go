// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// TestOpenRequestsAreAnsweredBeforeTheServerStops: the process exits next.
func TestOpenRequestsAreAnsweredBeforeTheServerStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	asked := make(chan struct{})
	given := false // owned by the handler until serve has returned
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // it still runs when the server begins to stop
		_, _ = io.WriteString(w, "done")
		given = true
	})}
	served := make(chan error, 1)
	go func() { served <- serve(ctx, srv, l, slog.New(slog.DiscardHandler), 30*time.Second) }()
	text := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}}}
		resp, err := client.Get("http://reaper/")
		if err != nil {
			text <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		text <- string(b)
	}()
	<-asked
	end()
	if err := <-served; err != nil || !given {
		t.Errorf("serve returned %v, the answer was written: %v", err, given)
	}
	if got := <-text; got != "done" {
		t.Errorf("the answer is %q", got)
	}
}
