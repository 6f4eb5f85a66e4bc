// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/netns"
)

// isAlive calls Alive, and skips the test if the kernel does not support it.
func isAlive(t *testing.T, id netns.Identity) bool {
	t.Helper()
	alive, err := netns.NewLiveness().Alive(id)
	if err != nil {
		if !errors.Is(err, netns.ErrLivenessUnknown) {
			t.Error(err)
		}
		t.Skip(err)
	}
	return alive
}

func identify(t *testing.T, ns *nstest.NS) netns.Identity {
	t.Helper()
	id, err := netns.Identify(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestANamespaceIsAliveUntilItsLastReferenceIsClosed(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	id, otherID := identify(t, ns), identify(t, other)
	if !isAlive(t, id) {
		t.Error("not alive with an open descriptor")
	}
	socket, err := -1, error(nil)
	ns.Do(t, func() { socket, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	if !isAlive(t, id) {
		t.Error("not alive with an open socket")
	}
	if err := unix.Close(socket); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 30*time.Second, "not alive", func() bool { return !isAlive(t, id) })
	if !isAlive(t, otherID) {
		t.Error("the other namespace is not alive")
	}
}

func TestAnUnusedIdentityIsNotAlive(t *testing.T) {
	id := identify(t, nstest.New(t))
	if !isAlive(t, id) {
		t.Error("the namespace is not alive")
	}
	for name, wrong := range map[string]netns.Identity{
		"another cookie": {Cookie: id.Cookie + 1<<40, Dev: id.Dev, Inode: id.Inode},
		"another inode":  {Cookie: id.Cookie, Dev: id.Dev, Inode: id.Inode + 1<<20},
	} {
		if isAlive(t, wrong) {
			t.Errorf("%s: alive", name)
		}
	}
}

func TestLivenessIsUnknownWithoutACookieOrThePrivilege(t *testing.T) {
	id := identify(t, nstest.New(t))
	if !isAlive(t, id) {
		t.Error("the namespace is not alive")
	}
	l := netns.NewLiveness()
	for name, wrong := range map[string]netns.Identity{"no cookie": {Dev: id.Dev, Inode: id.Inode}, "nothing": {}} {
		if alive, err := l.Alive(wrong); !errors.Is(err, netns.ErrLivenessUnknown) || alive {
			t.Errorf("%s: alive %t, %v", name, alive, err)
		}
	}
	thread.Discard(func() {
		nstest.KeepCapabilities(t)
		if alive, err := netns.NewLiveness().Alive(id); !errors.Is(err, netns.ErrLivenessUnknown) || alive {
			t.Errorf("without privilege: alive %t, %v", alive, err)
		}
	})
}
