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

func TestRolesAreLookedUpOnce(t *testing.T) {
	sink := &slowSink{clock: nstest.Clock(t)}
	now := sink.clock.Now()
	s := newTestSweeper(t, testNetns(t), wholeCore, now)
	s.looksUpRoles = nil
	if _, complete := s.sweep(now, sink); !complete || len(s.queue.peek().roles) != 0 {
		t.Errorf("roles %v of a sweeper without lookups", s.queue.peek().roles)
	}
	s = newTestSweeper(t, testNetns(t), wholeCore, now)
	s.looksUpRoles = func(id netns.Identity) bool { return true }
	if _, complete := s.sweep(now, sink); !complete {
		t.Fatal("no sweep")
	}
	known := maps.Clone(s.queue.peek().roles)
	if len(known) == 0 {
		t.Fatal("no roles")
	}
	lookup := roleLookup{netns: s.queue.peek().netns, before: known} // without an opener, a lookup fails
	var batch []Seen
	for id := range known {
		batch = append(batch, Seen{Socket: inetdiag.Socket{ID: id, Inode: 1}})
	}
	lookup.decide(batch)
	if lookup.failed || lookup.conn != nil || !maps.Equal(lookup.finish(true), known) {
		t.Error("it looks up known roles")
	}
}

func TestRolesSurviveAFailedDump(t *testing.T) {
	seen := func(cookie uint64) Seen {
		return Seen{Socket: inetdiag.Socket{ID: testID(cookie), Inode: 1}}
	}
	before := roles{testID(1): policy.RoleServer, testID(2): policy.RoleServer}
	for name, batch := range map[string][]Seen{"at once": nil, "after one of two sockets": {seen(1)}} {
		lookup := roleLookup{before: before}
		lookup.decide(batch)
		if got := lookup.finish(false); !maps.Equal(got, before) {
			t.Errorf("failed %s: roles %v, want %v", name, got, before)
		}
	}
	lookup := roleLookup{before: before}
	lookup.decide([]Seen{seen(2)})
	if got := lookup.finish(true); !maps.Equal(got, roles{testID(2): policy.RoleServer}) {
		t.Errorf("roles %v after a dump without the other socket", got)
	}
}

func testID(cookie uint64) inetdiag.ID {
	at := netip.MustParseAddrPort("127.0.0.1:80")
	return inetdiag.NewID(unix.AF_INET, at, at, 0, cookie)
}
