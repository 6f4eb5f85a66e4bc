// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// fullPipe returns the end of a pipe in which nothing fits any more. Writing to it holds a thread up.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
	t.Cleanup(func() {
		r.Close() // who still writes gets an error
		w.Close()
	})
	size, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAReaperWhoseStderrIsStuckWorksAndEnds(t *testing.T) {
	dir := t.TempDir()
	start := func(ctx context.Context) <-chan int {
		ended := make(chan int, 1)
		e := &env{out: &bytes.Buffer{}, err: fullPipe(t), getenv: func(string) string { return "" }}
		go func() { ended <- run(ctx, []string{"reaper", "--state-dir", dir, "--log-level", "debug"}, e) }()
		return ended
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := start(ctx)
	nstest.Eventually(t, 30*time.Second, "the reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })
	if code := <-start(ctx); code != exitFailure { // it cannot say who has the lock, and ends all the same
		t.Errorf("the second reaper: exit code %d", code)
	}
	if code, _, stderr := call(t, nil, "status", "--state-dir", dir); code != exitSuccess {
		t.Errorf("status: exit code %d: %s", code, stderr)
	}
	stop()
	if code := <-first; code != exitSuccess {
		t.Errorf("the first reaper: exit code %d", code)
	}
}
