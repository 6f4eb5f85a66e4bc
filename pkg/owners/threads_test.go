// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// startRole starts this binary in a role, and returns the first number that it writes.
func startRole(t *testing.T, ns *nstest.NS, role string, sockets ...socket) (process, int) {
	t.Helper()
	cmd := play(role, sockets...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, ns, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if _, err := fmt.Sscan(line, &number); err != nil {
		t.Fatal(err)
	}
	return p, number
}

// only returns the single owner of a socket.
func only(t *testing.T, found map[uint32][]owners.Process, s socket) owners.Process {
	t.Helper()
	if len(found[s.inode]) != 1 {
		t.Fatalf("owners %v, want one", found[s.inode])
	}
	return found[s.inode][0]
}

func TestASocketInTheOwnTableOfAThreadIsFound(t *testing.T) {
	ns := nstest.New(t)
	s, plain := newSocket(t, ns), newSocket(t, ns)
	p, tid := startRole(t, ns, "threaded", s)
	other := cat(t, ns, plain)
	s.Close()
	plain.Close()
	for name, scope := range scopes {
		q := query(scope, []*nstest.NS{ns}, s, plain)
		q.Descriptors = true
		found := find(t, owners.NewProc("/proc"), q)
		if got := only(t, found, s); got.PID != p.PID || got.TID != tid || got.FD != 3 || tid == p.PID {
			t.Errorf("%s: descriptor %d of thread %d of %v, want 3 of %d of %v", name, got.FD, got.TID, got, tid, p)
		}
		if got := only(t, found, plain); got.PID != other.PID || got.TID != other.PID || got.FD != 3 {
			t.Errorf("%s: descriptor %d of thread %d of %v, want 3 of the main thread of %v", name, got.FD, got.TID, got, other)
		}
	}
}

func TestASocketOfAProcessWithoutMainThreadIsFound(t *testing.T) {
	ns := nstest.New(t)
	s := newSocket(t, ns)
	p, _ := startRole(t, ns, "leaderless", s)
	s.Close()
	nstest.Eventually(t, patience, "its main thread has exited", func() bool {
		return strings.Contains(read(t, fmt.Sprintf("/proc/%d/status", p.PID)), "State:\tZ")
	})
	for name, scope := range scopes {
		q := query(scope, []*nstest.NS{ns}, s)
		q.Descriptors = true
		if got := only(t, find(t, owners.NewProc("/proc"), q), s); got.PID != p.PID || got.TID == p.PID || got.TID == 0 || got.FD != 3 {
			t.Errorf("%s: descriptor %d of thread %d of %v, want 3 of another thread of %v", name, got.FD, got.TID, got, p)
		}
	}
}

func TestOwnersHaveTheDescriptorOfEachSocket(t *testing.T) {
	ns := nstest.New(t)
	a, b := newSocket(t, ns), newSocket(t, ns)
	p := cat(t, ns, a, b, b)
	a.Close()
	b.Close()
	q := query(owners.AllProcesses, []*nstest.NS{ns}, a, b)
	q.Descriptors = true
	found := find(t, owners.NewProc("/proc"), q)
	for fd, s := range map[int]socket{3: a, 4: b} {
		if got := only(t, found, s); got.PID != p.PID || got.TID != p.PID || got.FD != fd {
			t.Errorf("descriptor %d of thread %d of %v, want %d", got.FD, got.TID, got, fd)
		}
		if got := inodeOfPath(t, fmt.Sprintf("/proc/%d/fd/%d", p.PID, fd)); got != uint64(s.inode) {
			t.Errorf("descriptor %d refers to %d, want %d", fd, got, s.inode)
		}
	}
}

func inodeOfPath(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(&os.PathError{Op: "stat", Path: path, Err: err})
	}
	return st.Ino
}
