// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestNetnsCookieBelongsToTheNetworkNamespace(t *testing.T) {
	here, there := nstest.New(t), nstest.New(t)
	cookie := func(c *inetdiag.Conn) uint64 {
		t.Helper()
		got, err := c.NetnsCookie()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	a, b, other := cookie(open(t, here)), cookie(open(t, here)), cookie(open(t, there))
	if a != b || a == other || a == 0 {
		t.Errorf("cookies of two conns in one namespace: %d and %d, in another: %d", a, b, other)
	}
}

func TestAConnReachesItsOwnNamespaceOnly(t *testing.T) {
	here, there := nstest.New(t), nstest.New(t)
	p := here.Connect(t, nstest.IPv4)
	id := socketOf(t, open(t, here), p.Client).ID
	c := open(t, there)
	if found := dump(t, c, everything()); len(found) != 0 {
		t.Errorf("dump reports another namespace's sockets: %v", found)
	}
	if err := c.Destroy(id); !errors.Is(err, inetdiag.ErrGone) {
		t.Errorf("destroy: %v, want %v", err, inetdiag.ErrGone)
	}
	assertWorks(t, p)
}

func TestUsingAConnInVisitIsAnError(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	id := socketOf(t, c, p.Client).ID
	for name, call := range map[string]func() error{
		"dump":    func() error { return c.Dump(everything(), nil) },
		"look up": func() error { _, err := c.Lookup(id); return err },
		"destroy": func() error { return c.Destroy(id) },
	} {
		var inside error
		if err := c.Dump(everything(), func(*inetdiag.Socket) error { inside = call(); return nil }); err != nil {
			t.Errorf("%s: the outer dump: %v", name, err)
		}
		if inside == nil || !strings.Contains(inside.Error(), "visit") {
			t.Errorf("%s in visit: %v, want an error with the reason", name, inside)
		}
		inside = nil
		if err := c.LookupAll([]inetdiag.ID{id}, func(int, *inetdiag.Socket, error) { inside = call() }); err != nil {
			t.Errorf("%s: the outer lookup: %v", name, err)
		}
		if inside == nil {
			t.Errorf("%s in visit: no error", name)
		}
	}
	assertWorks(t, p)
}

func TestAConnCannotBeUsedAfterVisitHasPanicked(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	ns.Connect(t, nstest.IPv4)
	func() {
		defer func() { _ = recover() }()
		_ = c.Dump(everything(), func(*inetdiag.Socket) error { panic("no") })
	}()
	if err := c.Dump(everything(), func(*inetdiag.Socket) error { return nil }); err == nil {
		t.Error("no error for a dump after the panic")
	}
}

func TestAClosedConnReturnsAnError(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	id := socketOf(t, c, p.Client).ID
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	_, cookieErr := c.NetnsCookie()
	_, lookupErr := c.Lookup(id)
	for _, err := range []error{cookieErr, lookupErr, c.Destroy(id), c.Dump(everything(), nil)} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("got %v, want the error that the conn is closed", err)
		}
	}
	c = open(t, ns)
	err := c.Dump(everything(), func(*inetdiag.Socket) error { return c.Close() })
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed in visit: %v, want the error that the conn is closed", err)
	}
	assertWorks(t, p)
}

func TestCloseLeavesNoDescriptorOpen(t *testing.T) {
	ns := nstest.New(t)
	p := ns.Connect(t, nstest.IPv4)
	round := func() {
		ns.Do(t, func() {
			c, err := inetdiag.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			dump(t, c, everything())
			_, _ = c.Lookup(inetdiag.ID{})
			_ = c.Dump(everything(), func(*inetdiag.Socket) error { return errors.New("stop") })
			if err := inetdiag.Probe(); err != nil {
				t.Error(err)
			}
		})
	}
	round()
	before := countFDs(t)
	for range 20 {
		round()
	}
	if after := countFDs(t); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
	assertWorks(t, p)
}

func TestDumpRefusesAFamilyWithoutTCP(t *testing.T) {
	c := open(t, nstest.New(t))
	err := c.Dump(inetdiag.Filter{Family: unix.AF_UNIX, States: inetdiag.AllStates}, nil)
	if err == nil || !strings.Contains(err.Error(), "family 1") {
		t.Errorf("got %v, want an error with the family", err)
	}
}
