// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// holding asks which of the sockets a process holds.
func holding(t *testing.T, pid int, sockets map[uint32]owners.Place) map[uint32]owners.Place {
	t.Helper()
	found, err := owners.NewProc("/proc").Holding(t.Context(), pid, sockets)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAProcessHoldsASocketUnderAnyDescriptor(t *testing.T) {
	ns := nstest.New(t)
	a, b, c, not := newSocket(t, ns), newSocket(t, ns), newSocket(t, ns), newSocket(t, ns)
	p := cat(t, ns, a, b, c)
	unknown, right := owners.Place{}, owners.Place{TID: p.PID, FD: 4}
	got := holding(t, p.PID, map[uint32]owners.Place{
		a.inode: unknown, b.inode: right, c.inode: {TID: p.PID, FD: 3}, not.inode: {TID: p.PID, FD: 3}, // as if closed and used again
	})
	want := map[uint32]owners.Place{a.inode: {TID: p.PID, FD: 3}, b.inode: right, c.inode: {TID: p.PID, FD: 5}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	p.end()
	if got := holding(t, p.PID, want); len(got) != 0 {
		t.Errorf("after its exit it holds %v", got)
	}
}

func TestASocketInTheOwnTableOfAThreadIsHeld(t *testing.T) {
	ns := nstest.New(t)
	s := newSocket(t, ns)
	p, tid := startRole(t, ns, "threaded", s)
	s.Close()
	for _, seen := range []owners.Place{{}, {TID: p.PID, FD: 3}, {TID: tid, FD: 3}} {
		if got := holding(t, p.PID, map[uint32]owners.Place{s.inode: seen}); got[s.inode] != (owners.Place{TID: tid, FD: 3}) {
			t.Errorf("seen at %v: %v, want 3 of thread %d", seen, got, tid)
		}
	}
}

func TestASocketOfAProcessWithoutMainThreadIsHeld(t *testing.T) {
	ns := nstest.New(t)
	s := newSocket(t, ns)
	p, _ := startRole(t, ns, "leaderless", s)
	s.Close()
	nstest.Eventually(t, patience, "another thread holds it", func() bool {
		got := holding(t, p.PID, map[uint32]owners.Place{s.inode: {}})[s.inode]
		return got.TID != 0 && got.TID != p.PID && got.FD == 3
	})
}

func TestOpenFilesAreThoseOfTheProcessAndItsSoftLimit(t *testing.T) {
	ns := nstest.New(t)
	a, b := newSocket(t, ns), newSocket(t, ns)
	cmd := command("sh", a, b)
	cmd.Args = []string{"sh", "-c", "ulimit -Sn 77; exec cat"}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = cmd.Wait() }()
	nstest.Eventually(t, patience, "it is cat", func() bool { return commandOf(cmd.Process.Pid) == "cat" })
	nstest.Eventually(t, patience, "the numbers are those of ls", func() bool { // it opens files until it reads
		got, err := owners.NewProc("/proc").OpenFiles(t.Context(), cmd.Process.Pid)
		listed, listErr := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
		return err == nil && listErr == nil && got == (owners.OpenFiles{Open: uint64(len(listed)), Limit: 77}) && got.Open >= 5
	})
	if _, err := owners.NewProc("/proc").OpenFiles(t.Context(), 1<<30); err == nil {
		t.Error("a process that does not exist has open files")
	}
}
