// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

// patience bounds the wait for an immediate effect on a busy machine.
const patience = 30 * time.Second

// runReaper runs a reaper on the state directory until the test ends.
func runReaper(t *testing.T, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	exited := make(chan int, 1)
	var stderr outputtest.Buffer
	getenv := func(string) string { return "" }
	e := &env{Printer: printer.Printer{Out: &stderr, Getenv: getenv}, err: &stderr, more: []*cobra.Command{daemon.Command(daemon.Environment{Getenv: getenv})}}
	go func() { exited <- run(ctx, append([]string{"reaper", "--state-dir", dir}, args...), e) }()
	t.Cleanup(func() {
		cancel()
		if code := <-exited; code != cmdline.Success {
			t.Errorf("the reaper's exit code is %d; its log:\n%s", code, stderr.String())
		}
	})
	nstest.Eventually(t, patience, "the reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })
}

// serveReaper serves h on the reaper's socket of a state directory until the test ends or stop is called.
func serveReaper(t testing.TB, dir string, h http.HandlerFunc) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", state.New(dir).SocketPath())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // returns on Close
	}()
	stop = sync.OnceFunc(func() {
		srv.Close()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// writeJSON answers a request with v.
func writeJSON(t *testing.T, w http.ResponseWriter, v any) {
	t.Helper()
	if err := apitest.WriteAnswer(w, v); err != nil {
		t.Error(err)
	}
}
