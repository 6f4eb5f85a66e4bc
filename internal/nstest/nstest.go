// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package nstest makes network namespaces and TCP connections for tests.
//
// Nothing is mounted and no process is started: a namespace lives as long as the file descriptor that
// holds it, so it goes with the test, or with the test's process however that ends.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
)

// NS is a network namespace of a test's own, with its loopback up.
type NS struct {
	handle netns.NsHandle
}

// New makes a namespace that lasts until the test ends. Without the privilege to make one the test is
// skipped, or fails where CI is set: there the privilege is part of the deal.
func New(tb testing.TB) *NS {
	tb.Helper()
	return made(tb, func() (*NS, error) { return newNS(func() error { return nil }) })
}

// NewSmall makes a namespace with a table of established connections of its own, which has so many buckets:
// a power of two. Connections collide in it as those of a whole machine do. It needs Linux 6.1.
func NewSmall(tb testing.TB, buckets int) *NS {
	tb.Helper()
	return made(tb, func() (*NS, error) {
		return newNS(func() error { // in a namespace of its own, which nothing else is made in
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return os.WriteFile("/proc/sys/net/ipv4/tcp_child_ehash_entries", strconv.AppendInt(nil, int64(buckets), 10), 0)
		})
	})
}

// made finishes a namespace that lasts until the test ends.
func made(tb testing.TB, build func() (*NS, error)) *NS {
	tb.Helper()
	ns, err := build()
	if errors.Is(err, unix.EPERM) {
		NeedPrivilege(tb, "make a network namespace", err)
	}
	if err != nil {
		tb.Fatalf("make a network namespace: %v", err)
	}
	tb.Cleanup(ns.Close)
	ns.Do(tb, func() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			tb.Errorf("set lo up: %v", err)
		}
	})
	return ns
}

// NeedPrivilege skips the test because a privilege is missing, with how to get it. If CI is set, the test fails.
func NeedPrivilege(tb testing.TB, what string, err error) {
	tb.Helper()
	Skip(tb, fmt.Sprintf("%s: %v: run as root, or under unshare -rmn", what, err))
}

// Skip skips the test because this machine lacks something that a CI machine has: why says what, and how to get it. If
// CI is set, the test fails.
func Skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// newNS makes the namespace on a thread that is thrown away with it, after before has run on that.
func newNS(before func() error) (ns *NS, err error) {
	thread.Discard(func() {
		if err = before(); err != nil {
			return
		}
		var h netns.NsHandle
		if h, err = netns.New(); err == nil {
			ns = &NS{handle: h}
		}
	})
	return ns, err
}

// Close lets go of the namespace. It may be called before the test ends, and again.
func (n *NS) Close() {
	if n.handle.IsOpen() {
		_ = n.handle.Close()
	}
}

// Path is a path that leads to the namespace, for this process and for any other with the right to look
// into /proc of this one.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle)) }

// FD is the file descriptor that holds the namespace.
func (n *NS) FD() int { return int(n.handle) }

// Do runs fn in the namespace. Sockets that it opens stay there. fn must not call FailNow, nor start
// goroutines that need to be in the namespace too.
func (n *NS) Do(tb testing.TB, fn func()) {
	tb.Helper()
	var err error
	thread.Discard(func() {
		if err = netns.Set(n.handle); err == nil {
			fn()
		}
	})
	if err != nil {
		tb.Fatalf("enter network namespace: %v", err)
	}
}
