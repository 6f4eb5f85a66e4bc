// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"net"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// hasListener returns the result for one connection.
func hasListener(t *testing.T, c *inetdiag.Conn, id inetdiag.ID) (has bool) {
	t.Helper()
	visited := 0
	err := c.HasListenerAll([]inetdiag.ID{id}, func(_ int, found bool, err error) {
		if visited++; err != nil {
			t.Error(err)
		}
		has = found
	})
	if err != nil || visited != 1 {
		t.Fatalf("%d visits: %v", visited, err)
	}
	return has
}

func TestHasListenerFollowsTheKernelsRules(t *testing.T) {
	for _, o := range nstest.Openings {
		t.Run(o.Name, func(t *testing.T) {
			ns := nstest.New(t)
			client, server := o.Make(t, ns)
			c := open(t, ns)
			sockets := dump(t, c, everything())
			if got, want := hasListener(t, c, sockets[nstest.CookieOf(t, server)].ID), !o.Closed; got != want {
				t.Errorf("the accepted socket has a listener: %t, want %t", got, want)
			}
			if got, want := hasListener(t, c, sockets[nstest.CookieOf(t, client)].ID), o.Shared; got != want {
				t.Errorf("the client's socket has a listener: %t, want %t", got, want)
			}
		})
	}
}

func TestHasListenerAllAnswersInOrder(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	closed := socketOf(t, c, ns.Connect(t, nstest.IPv4).Server).ID
	l := ns.Listen(t, nstest.Mapped)
	ns.Dial(t, nstest.Mapped, l.Addr().(*net.TCPAddr).Port)
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	listening := socketOf(t, c, accepted).ID
	kinds := []inetdiag.ID{listening, closed, {}}
	ids := make([]inetdiag.ID, 100)
	for i := range ids {
		ids[i] = kinds[i%len(kinds)]
	}
	next := 0
	err = c.HasListenerAll(ids, func(i int, has bool, err error) {
		if i != next || has != (ids[i] == listening) || errors.Is(err, inetdiag.ErrBadID) != (ids[i] == inetdiag.ID{}) {
			t.Errorf("visit %d has index %d: %v has a listener: %t, %v", next, i, ids[i], has, err)
		}
		next++
	})
	if err != nil || next != len(ids) {
		t.Errorf("%d visits of %d: %v", next, len(ids), err)
	}
	if _, err := c.Lookup(listening); err != nil {
		t.Errorf("the Conn cannot be used afterwards: %v", err)
	}
}
