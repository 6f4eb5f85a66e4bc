// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
)

func TestAddStartsOneReaperAndDoesNotWaitForIt(t *testing.T) {
	r := newRuntime(t)
	auto := strings.Replace(chained("1.0.0", ""), `"external"`, `"auto"`, 1)
	// call returns once stdout and stderr are closed everywhere: the reaper does not keep them open.
	if e := r.call(t, "ADD", auto, nil); e.code != 0 || e.stderr != "" {
		t.Fatalf("ADD: %+v", e)
	}
	nstest.Eventually(t, 20*time.Second, "the reaper listens", func() bool { return launch.Running(r.store.SocketPath()) })
	pid := listener(t, r.store.SocketPath())
	reaper, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reaper.Kill() }) // it has ended already unless the test failed
	if e := r.call(t, "ADD", auto, nil); e.code != 0 || e.stderr != "" {
		t.Fatalf("ADD beside a reaper: %+v", e)
	}
	if again := listener(t, r.store.SocketPath()); again != pid {
		t.Errorf("process %d listens, before it was %d", again, pid)
	}
	if err := reaper.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 20*time.Second, "the reaper ends", func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // a zombie has none
		return err != nil
	})
}

// listener returns the process that listens on a unix socket.
func listener(t *testing.T, path string) int {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		t.Fatal(err)
	}
	if credErr != nil {
		t.Fatal(credErr)
	}
	return int(cred.Pid)
}
