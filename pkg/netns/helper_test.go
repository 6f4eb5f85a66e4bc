// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"os"
	"testing"

	"github.com/halfclose/halfclose/pkg/netns"
)

func open(tb testing.TB, path string) *netns.Handle {
	tb.Helper()
	h, err := netns.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// ownIdentity returns the identity of the test process's network namespace.
func ownIdentity(tb testing.TB) netns.Identity {
	tb.Helper()
	h, err := netns.OpenOwn()
	if err != nil {
		tb.Fatal(err)
	}
	defer h.Close()
	return h.Stat()
}

// here returns the identity of the calling thread's network namespace.
func here() (netns.Identity, error) {
	h, err := netns.Open("/proc/thread-self/ns/net")
	if err != nil {
		return netns.Identity{}, err
	}
	defer h.Close()
	return h.Stat(), nil
}

func countFDs(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

func symlink(tb testing.TB, target, path string) string {
	tb.Helper()
	if err := os.Symlink(target, path); err != nil {
		tb.Fatal(err)
	}
	return path
}
