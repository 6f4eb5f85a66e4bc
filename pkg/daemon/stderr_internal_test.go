// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// fullPipe returns the write end of a full pipe. A write to it blocks a thread.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
	t.Cleanup(func() {
		r.Close() // a write that blocks returns an error
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

func TestAReaperWithAStuckStderrWorksAndExits(t *testing.T) {
	dir := t.TempDir()
	start := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		stderr := fullPipe(t)
		go func() { ended <- execute(ctx, stderr, "--state-dir", dir, "--log-level", "debug") }()
		return ended
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := start(ctx)
	nstest.Eventually(t, 30*time.Second, "the reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })
	if err := <-start(ctx); err == nil { // it cannot log the lock's holder, and exits
		t.Error("the second reaper exits without an error")
	}
	if _, err := admin.NewClient(state.New(dir).SocketPath()).Status(t.Context()); err != nil {
		t.Errorf("the first reaper does not answer: %v", err)
	}
	stop()
	if err := <-first; err != nil {
		t.Errorf("the first reaper: %v", err)
	}
}
