// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
)

// pinned returns a namespace that only its handle keeps: without a process and without a path.
func pinned(t *testing.T) Identity {
	t.Helper()
	ns := nstest.New(t)
	h, err := Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	id, err := h.Identify()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestANamespaceHasEndedAfterItsLastReference(t *testing.T) {
	ns := nstest.New(t)
	h, err := Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	id, err := h.Identify()
	if err != nil {
		t.Fatal(err)
	}
	liveness := newKnowing(t, id)
	if ended, err := liveness.Ended(id); ended || err != nil {
		t.Errorf("with its path: ended %v, %v", ended, err)
	}
	ns.Close()
	if ended, err := liveness.Ended(id); ended || err != nil {
		t.Errorf("with a descriptor: ended %v, %v", ended, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 10*time.Second, "it has ended", func() bool {
		ended, err := liveness.Ended(id)
		return ended && err == nil
	})
}

// newKnowing returns a Liveness, and skips the test if the kernel does not report whether a network namespace exists.
func newKnowing(t *testing.T, id Identity) *Liveness {
	t.Helper()
	liveness := NewLiveness()
	if _, err := liveness.Alive(id); errors.Is(err, ErrLivenessUnknown) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return liveness
}

func TestANamespaceWithTheSameInodeNumberIsAnotherOne(t *testing.T) {
	id := pinned(t)
	liveness := newKnowing(t, id)
	id.Cookie += 1 << 40
	if ended, err := liveness.Ended(id); !ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
}

func TestWithoutFileHandlesANamespaceWithAProcessExists(t *testing.T) {
	own, err := OpenOwn()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	used, err := readInodes("/proc")
	if used == nil {
		nstest.NeedPrivilege(t, "see every process", err)
	}
	// Another process may be hidden, which is an error.
	if !used[own.Stat().Inode] || used[1] || err != nil && !errors.Is(err, ErrUnproven) {
		t.Errorf("of this process's own and of one without a process: %v, %v, %v", used[own.Stat().Inode], used[1], err)
	}
}

func TestEndedIsUnprovenIfSomeProcessesAreHidden(t *testing.T) {
	for _, proc := range []string{t.TempDir(), fmt.Sprintf("/proc/%d", 1<<30)} {
		if used, err := readInodes(proc); len(used) > 0 || !errors.Is(err, ErrUnproven) {
			t.Errorf("%s: %v, %v", proc, used, err)
		}
	}
}

func TestOneNamespaceOfSeveralHasEnded(t *testing.T) {
	lives := pinned(t)
	ended := lives
	ended.Cookie += 1 << 40
	liveness := newKnowing(t, lives)
	if diff := cmp.Diff([]bool{false, true, false}, liveness.EndedEach([]Identity{lives, ended, lives})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestANamespaceOfAProcessExistsEvenIfOtherProcessesAreHidden(t *testing.T) {
	liveness := NewLiveness()
	for _, unknown := range []error{nil, ErrUnproven} {
		for inode, want := range map[uint64]bool{1: unknown == nil, 2: false} {
			ended, err := liveness.endedAmong(Identity{Inode: inode}, func() (inodes, error) { return inodes{2: true}, unknown })
			if ended != want || inode == 2 && err != nil || inode == 1 && !errors.Is(err, unknown) {
				t.Errorf("inode %d with %v: ended %v, %v", inode, unknown, ended, err)
			}
		}
	}
}
