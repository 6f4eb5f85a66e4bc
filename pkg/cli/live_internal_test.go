// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// soon bounds what should happen at once, for a machine that is busy with everything else.
const soon = 30 * time.Second

// stateDir makes a state directory, whose path is short enough for a socket in it.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// reaping runs a reaper on the state directory until the test ends.
func reaping(t *testing.T, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	var stderr outputtest.Buffer
	getenv := func(string) string { return "" }
	e := &env{out: &stderr, err: &stderr, getenv: getenv, more: []*cobra.Command{daemon.Command(daemon.Environment{Getenv: getenv})}}
	go func() { ended <- run(ctx, append([]string{"reaper", "--state-dir", dir}, args...), e) }()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitSuccess {
			t.Errorf("the reaper's exit code is %d; it says:\n%s", code, stderr.String())
		}
	})
	nstest.Eventually(t, soon, "the reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })
}

// answering serves h on the reaper's socket of a state directory, until the test ends or stop is called.
func answering(t testing.TB, dir string, h http.HandlerFunc) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", state.New(dir).SocketPath())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: soon}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // ends when it is closed
	}()
	stop = sync.OnceFunc(func() {
		srv.Close()
		<-ended
	})
	t.Cleanup(stop)
	return stop
}

// answer answers a request with v.
func answer(t *testing.T, w http.ResponseWriter, v any) {
	t.Helper()
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Error(err)
	}
}
