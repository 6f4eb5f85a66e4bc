// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// pinned returns a namespace that only its handle keeps: without a process and without a path.
func pinned(t *testing.T) (*Handle, Identity) {
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
	return h, id
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
	liveness := NewLiveness()
	if _, err := liveness.Alive(id); err != nil {
		t.Skip(err)
	}
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

func TestANamespaceWithTheSameInodeNumberIsAnotherOne(t *testing.T) {
	_, id := pinned(t)
	liveness := NewLiveness()
	if _, err := liveness.Alive(id); err != nil {
		t.Skip(err)
	}
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
	ended, err := endedByProcesses(own.Stat(), "/proc")
	if errors.Is(err, ErrUnproven) {
		nstest.NeedPrivilege(t, "see every process", err)
	}
	if ended || err != nil {
		t.Errorf("this process's own: ended %v, %v", ended, err)
	}
	ended, err = endedByProcesses(Identity{Inode: 1}, "/proc")
	if !ended && !errors.Is(err, ErrUnproven) || err != nil && ended {
		t.Errorf("one without a process: ended %v, %v", ended, err)
	}
}

func TestEndedIsUnprovenIfSomeProcessesAreHidden(t *testing.T) {
	for _, proc := range []string{t.TempDir(), fmt.Sprintf("/proc/%d", 1<<30)} {
		if ended, err := endedByProcesses(Identity{Inode: 1}, proc); ended || !errors.Is(err, ErrUnproven) {
			t.Errorf("%s: ended %v, %v", proc, ended, err)
		}
	}
}
