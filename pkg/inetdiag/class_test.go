// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// TestALookupTellsTheClassOrThePriority sets no class, which takes a cgroup of net_cls: the kernel sends a priority in
// its place.
func TestALookupTellsTheClassOrThePriority(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		plain := ns.Socket(t, family, func(fd int) error { return unix.Listen(fd, 1) })
		preferred := ns.Socket(t, family, func(fd int) error { return unix.Listen(fd, 1) },
			func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 5) })
		sockets := dump(t, c, everything())
		for fd, want := range map[int]uint32{plain: 0, preferred: 5} {
			id := sockets[nstest.CookieOf(t, fd)].ID
			if s, err := c.Lookup(id); err != nil || s.ClassID != want {
				t.Errorf("class %d of %v, want %d: %v", s.ClassID, id, want, err)
			}
		}
	}
	if got := dump(t, c, inetdiag.Filter{States: 1 << inetdiag.Listen, Info: true}); len(got) != 4 {
		t.Errorf("%d listeners, want 4", len(got))
	}
}
