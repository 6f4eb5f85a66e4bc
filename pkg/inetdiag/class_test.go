// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestALookupReportsTheClassOrThePriority(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	c := open(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	const priority = 5
	raw, err := p.Server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, priority)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if s := lookUp(t, c, socketOf(t, c, p.Server).ID); s.ClassID != priority {
		t.Errorf("a socket of priority %d has the class %#x", priority, s.ClassID)
	}
	if s := lookUp(t, c, socketOf(t, c, p.Client).ID); s.ClassID != 0 {
		t.Errorf("a socket of no class has the class %#x", s.ClassID)
	}
}

func TestOwnSocketsHaveTheClassOfTheProcess(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	c := open(t, ns)
	s := lookUp(t, c, socketOf(t, c, ns.Connect(t, nstest.IPv4).Client).ID)
	ns.Do(t, func() {
		if class, err := inetdiag.OwnClassID(); err != nil || class != s.ClassID {
			t.Errorf("own class %#x, %v; a socket of this process has %#x", class, err, s.ClassID)
		}
	})
}

func lookUp(t *testing.T, c *inetdiag.Conn, id inetdiag.ID) inetdiag.Socket {
	t.Helper()
	s, err := c.Lookup(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
