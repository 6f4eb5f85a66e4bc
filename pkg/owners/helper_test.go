// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// patience is the timeout of waits.
const patience = 30 * time.Second

// socket is a socket of a test.
type socket struct {
	*os.File
	inode uint32
}

// newSocket creates a socket in the namespace, nil for the test's own. The test process is its only owner.
func newSocket(tb testing.TB, ns *nstest.NS) socket {
	tb.Helper()
	fd, err := -1, error(nil)
	inside(tb, ns, func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		tb.Fatal(err)
	}
	s := socket{File: os.NewFile(uintptr(fd), "socket")}
	tb.Cleanup(func() { s.Close() })
	s.inode = uint32(inodeOf(tb, fd))
	return s
}

// inside runs fn in the namespace, nil for the test's own.
func inside(tb testing.TB, ns *nstest.NS, fn func()) {
	tb.Helper()
	if ns == nil {
		fn()
	} else {
		ns.Do(tb, fn)
	}
}

func inodeOf(tb testing.TB, fd int) uint64 {
	tb.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		tb.Fatal(err)
	}
	return st.Ino
}

// process is a child of the test.
type process struct {
	owners.Process
	end func() // has it exit, and waits for that
}

// command returns a command with the sockets as descriptors 3 and following.
func command(name string, sockets ...socket) *exec.Cmd {
	cmd := exec.Command(name)
	for _, s := range sockets {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.File)
	}
	return cmd
}

// start starts a process in the namespace, or in the test's own if that is nil. The process exits when end or the exit of the test
// closes its standard input.
func start(tb testing.TB, ns *nstest.NS, cmd *exec.Cmd) process {
	tb.Helper()
	stdin, err := cmd.StdinPipe()
	if err == nil {
		inside(tb, ns, func() { err = cmd.Start() })
	}
	if err != nil {
		tb.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			stdin.Close()
			_ = cmd.Wait()
		}
	}
	tb.Cleanup(end)
	p := process{owners.Process{PID: cmd.Process.Pid, ContainerID: ownContainer(tb)}, end}
	want := filepath.Base(cmd.Path)
	nstest.Eventually(tb, patience, "its command is "+want, func() bool {
		p.Command = commandOf(p.PID)
		return p.Command == want
	})
	return p
}

// commandOf returns the command of a process.
func commandOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(string(b), "\n")
}

// ownContainer returns the test's own container, or "". Its children are in the same one.
func ownContainer(tb testing.TB) string {
	tb.Helper()
	ids := regexp.MustCompile("[0-9a-f]{64}").FindAllString(read(tb, "/proc/self/cgroup"), -1)
	if len(ids) == 0 {
		return ""
	}
	return ids[len(ids)-1]
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// processes returns the number of processes.
func processes(tb testing.TB) (n int) {
	tb.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	return n
}

// cat starts an idle process that owns the sockets.
func cat(tb testing.TB, ns *nstest.NS, sockets ...socket) process {
	tb.Helper()
	return start(tb, ns, command("cat", sockets...))
}

// query returns a query of the sockets in the namespaces.
func query(scope owners.Scope, namespaces []*nstest.NS, sockets ...socket) owners.Query {
	q := owners.Query{Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: scope}
	for _, s := range sockets {
		q.Inodes[s.inode] = struct{}{}
	}
	for _, ns := range namespaces {
		var st unix.Stat_t
		if err := unix.Fstat(ns.FD(), &st); err == nil {
			q.Netns[st.Ino] = struct{}{}
		}
	}
	return q
}

// find requires a search without an error.
func find(tb testing.TB, p *owners.Proc, q owners.Query) map[uint32][]owners.Process {
	tb.Helper()
	found, err := p.Find(context.Background(), q)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// unseen returns the UnseenError of a search.
func unseen(tb testing.TB, p *owners.Proc, q owners.Query) (map[uint32][]owners.Process, *owners.UnseenError) {
	tb.Helper()
	found, err := p.Find(context.Background(), q)
	e, ok := errors.AsType[*owners.UnseenError](err)
	if !ok {
		tb.Errorf("found %v, and the error is %v", found, err)
		return found, &owners.UnseenError{}
	}
	return found, e
}
