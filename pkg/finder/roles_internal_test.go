// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"maps"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestARoleIsLookedUpOnce(t *testing.T) {
	sink := &slowSink{clock: nstest.Clock(t)}
	now := sink.clock.Now()
	s := newTestSweeper(t, testNetns(t), wholeCore, now)
	s.tellsRoles = nil
	if _, complete := s.sweep(now, sink); !complete || len(s.queue.peek().roles) != 0 {
		t.Errorf("roles %v of a sweeper that tells none", s.queue.peek().roles)
	}
	s = newTestSweeper(t, testNetns(t), wholeCore, now)
	s.tellsRoles = func(id netns.Identity) bool { return true }
	if _, complete := s.sweep(now, sink); !complete {
		t.Fatal("no sweep")
	}
	told := maps.Clone(s.queue.peek().roles)
	if len(told) == 0 {
		t.Fatal("no roles")
	}
	lookup := roleLookup{netns: s.queue.peek().netns, before: told} // without an opener: a look-up would fail
	var batch []Seen
	for id := range told {
		batch = append(batch, Seen{Socket: inetdiag.Socket{ID: id, Inode: 1}})
	}
	lookup.tell(batch)
	if lookup.failed || lookup.conn != nil || !maps.Equal(lookup.finish(true), told) {
		t.Error("it looks roles up that it knows")
	}
}

func TestRolesSurviveADumpThatFails(t *testing.T) {
	seen := func(cookie uint64) Seen {
		return Seen{Socket: inetdiag.Socket{ID: testID(cookie), Inode: 1}}
	}
	before := roles{testID(1): policy.RoleServer, testID(2): policy.RoleServer}
	for name, batch := range map[string][]Seen{"at once": nil, "after one of two sockets": {seen(1)}} {
		lookup := roleLookup{before: before}
		lookup.tell(batch)
		if got := lookup.finish(false); !maps.Equal(got, before) {
			t.Errorf("failed %s: roles %v, want %v", name, got, before)
		}
	}
	lookup := roleLookup{before: before}
	lookup.tell([]Seen{seen(2)})
	if got := lookup.finish(true); !maps.Equal(got, roles{testID(2): policy.RoleServer}) {
		t.Errorf("roles %v after a dump that does not show the other socket", got)
	}
}

func testID(cookie uint64) inetdiag.ID {
	at := netip.MustParseAddrPort("127.0.0.1:80")
	return inetdiag.NewID(unix.AF_INET, at, at, 0, cookie)
}
