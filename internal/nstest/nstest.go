// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package nstest creates network namespaces and TCP connections for tests, and checks tests for leaks.
//
// It mounts nothing and starts no process: a namespace lives as long as its file descriptor, so the kernel frees it when
// the test ends or its process is killed.
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

// NS is a network namespace that the test owns. Its loopback is up.
type NS struct {
	handle netns.NsHandle
}

// New creates a namespace that lasts until the test ends. Without the privilege the test is skipped; if CI is set, it
// fails.
func New(tb testing.TB) *NS {
	tb.Helper()
	return made(tb, func() (*NS, error) { return newNS(func() error { return nil }) })
}

// NewSmall creates a namespace with a hash table of established connections of its own. buckets is a power of two.
// Connections collide in a small table as those of a whole machine do in the shared one. It needs Linux 6.1.
func NewSmall(tb testing.TB, buckets int) *NS {
	tb.Helper()
	return made(tb, func() (*NS, error) {
		return newNS(func() error { // a namespace whose children get the small table
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return os.WriteFile("/proc/sys/net/ipv4/tcp_child_ehash_entries", strconv.AppendInt(nil, int64(buckets), 10), 0)
		})
	})
}

// made brings up the loopback of a new namespace, and closes the namespace when the test ends.
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

// HasNetnsCookies reports whether the kernel has cookies of network namespaces (Linux 5.14).
func HasNetnsCookies(tb testing.TB) bool {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		tb.Fatal(err)
	}
	return err == nil
}

// NeedBPF skips the test because the bpf finder's programs cannot be loaded. If CI is set, the test fails, except on a kernel
// before Linux 5.14, which the programs need.
func NeedBPF(tb testing.TB, err error) {
	tb.Helper()
	var name unix.Utsname
	var major, minor int
	if uerr := unix.Uname(&name); uerr != nil {
		tb.Fatal(uerr)
	}
	if _, serr := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); serr == nil && (major < 5 || major == 5 && minor < 14) {
		tb.Skipf("the bpf finder needs Linux 5.14: %v", err)
	}
	NeedPrivilege(tb, "load BPF programs", err)
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

// newNS calls before and creates the namespace, on a thread that exits afterwards.
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

// Close closes the namespace's file descriptor. It may be called before the test ends, and more than once.
func (n *NS) Close() {
	if n.handle.IsOpen() {
		_ = n.handle.Close()
	}
}

// Path returns a path to the namespace for this process and for any other that may read this one's /proc/PID/fd.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle)) }

// FD returns the file descriptor of the namespace.
func (n *NS) FD() int { return int(n.handle) }

// Do runs fn in the namespace. Sockets that fn opens stay there. fn must not call FailNow, and goroutines that it starts
// are not in the namespace.
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
