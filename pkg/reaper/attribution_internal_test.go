// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// newOwningLoop makes a loop with one namespace, whose attributor too is the test. budget is the share of a
// core that looking for owners may cost.
func newOwningLoop(t *testing.T, budget float64) (*loop, *registered) {
	t.Helper()
	l, ns := newTestLoop(t, policy.Destroy)
	l.attribution = newAttribution(owners.NewProc("/proc"), budget, moment(0))
	return l, ns
}

// leaks has a socket seen that is due so long after the moment, whose inode is its cookie.
func leaks(l *loop, ns *registered, cookie uint64, at monotime.Time, due time.Duration) *candidate {
	seen := seenAt(cookie, testGrace-due, at)
	seen.Socket.Inode = uint32(cookie)
	seen.Entered = at.Add(due - testGrace)
	l.tracker.seen(ns, seen, at)
	return ns.candidates[cookie]
}

// nextLook takes the look that the loop has begun, nil if it has none.
func nextLook(l *loop, at monotime.Time) *ownersLook {
	l.attribute(at)
	select {
	case k := <-l.attribution.looks:
		return k
	default:
		return nil
	}
}

// asked are the inodes that a look is for.
func asked(k *ownersLook) []uint32 {
	if k == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(k.query.Inodes))
}

// answer ends a look: everything that it is for is held by the process, but for what is held by nobody.
func answer(l *loop, k *ownersLook, at monotime.Time, by owners.Process, nobody ...uint32) {
	k.found = make(map[uint32][]owners.Process)
	list := []owners.Process{by}
	for inode := range k.query.Inodes {
		if !slices.Contains(nobody, inode) {
			k.found[inode] = list
		}
	}
	l.attributed(k, at)
}

// turnTo bounds what may be done on the node.
func turnTo(l *loop, m policy.Mode, at monotime.Time) {
	l.caps.view.Effective = m
	l.remode(at)
}

func TestOwnersAreLookedForOfWhatIsDueSoon(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	off := newRegistered(2)
	off.policies[0].Mode = policy.Off
	l.registry.namespaces[off.Identity] = off
	at := moment(0)
	leaks(l, ns, 11, at, 3*time.Second)
	leaks(l, ns, 12, at, 8*time.Second)
	leaks(l, ns, 13, at, 12*time.Second) // later than it looks ahead
	forbidden := leaks(l, ns, 14, at, 3*time.Second)
	leaks(l, ns, 15, at, 3*time.Second).shown.inode = 0
	unread := seenAt(16, testGrace+time.Second, at)
	unread.Socket.RQueue, unread.Socket.Inode = 100, 16
	l.tracker.seen(ns, unread, at)
	leaks(l, off, 17, at, 3*time.Second)
	l.tracker.handle(leaks(l, ns, 18, at, 15*time.Second), eventMissed, at)
	leaks(l, ns, 19, at, 0)
	turnTo(l, policy.Off, at)
	if k := nextLook(l, at); k != nil {
		t.Errorf("where nothing is destroyed, nor noted, it looks for %v", asked(k))
	}
	turnTo(l, policy.Observe, at)
	forbidden.step.phase = phaseForbidden
	at = at.Add(time.Second)
	k := nextLook(l, at)
	if diff := cmp.Diff([]uint32{11, 12, 19}, asked(k)); diff != "" {
		t.Errorf("looked for (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[uint64]struct{}{ns.Identity.Inode: {}}, k.query.Netns); diff != "" {
		t.Errorf("in namespaces (-want +got):\n%s", diff)
	}
	if got := nextLook(l, at.Add(time.Hour)); got != nil {
		t.Errorf("while a look is under way another is for %v", asked(got))
	}
}

func TestOwnersAreNotLookedForBeforeAnythingIsDueSoon(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	if k := nextLook(l, moment(0)); k != nil {
		t.Errorf("with nothing to do it looks for %v", asked(k))
	}
	leaks(l, ns, 7, moment(0), testGrace)
	for s := range 15 {
		if k := nextLook(l, moment(time.Duration(s)*time.Second)); k != nil {
			t.Fatalf("%v before it is due it looks for %v", testGrace-time.Duration(s)*time.Second, asked(k))
		}
	}
	if k := nextLook(l, moment(16*time.Second)); !slices.Equal(asked(k), []uint32{7}) {
		t.Errorf("4s before it is due it looks for %v", asked(k))
	}
}

func TestOwnersThatAreKnownAreLookedForAgainWhenThatIsLongAgo(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	c := leaks(l, ns, 7, moment(0), 3*time.Second)
	k := nextLook(l, moment(0))
	answer(l, k, moment(0), owners.Process{PID: 42})
	if got := nextLook(l, moment(2*time.Second)); got != nil {
		t.Errorf("it looks again for %v", asked(got))
	}
	if c.owners == nil || !slices.Equal(c.owners.list, []owners.Process{{PID: 42}}) {
		t.Errorf("known is %+v", c.owners)
	}
	// It waits, for the budget or because the kernel refused.
	if got := nextLook(l, moment(freshFor+time.Second)); !slices.Equal(asked(got), []uint32{7}) {
		t.Errorf("after %v it looks for %v", freshFor+time.Second, asked(got))
	}
}

func TestOwnersAreOfTheSocketThatWasAskedFor(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	c, other := leaks(l, ns, 7, moment(0), 3*time.Second), leaks(l, ns, 8, moment(0), 3*time.Second)
	k := nextLook(l, moment(0))
	look := c.socket()
	look.Inode = 9 // it was accepted meanwhile
	v := l.tracker.judge(c, moment(0))
	c.take(c.history, &look, v, v.Deadline)
	answer(l, k, moment(0), owners.Process{PID: 42})
	if c.owners != nil {
		t.Errorf("the owner of the socket before is taken for its: %+v", c.owners)
	}
	look = other.socket()
	look.Inode = 10
	v = l.tracker.judge(other, moment(0))
	if other.take(other.history, &look, v, v.Deadline); other.owners != nil {
		t.Errorf("the owner of the socket before stays: %+v", other.owners)
	}
}

// TestOwnersOfAnotherSocketAreNotJournalled has a socket's inode change between the look-up of its owners and its destroy.
func TestOwnersOfAnotherSocketAreNotJournalled(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	for _, cookie := range []uint64{7, 8} {
		seen := overdueLook(cookie)
		seen.Socket.Inode = uint32(10 * cookie)
		see(l, ns.Identity, seen)
	}
	answer(l, nextLook(l, now()), now(), owners.Process{PID: 42, Command: "leaky"})
	j := nextOf(t, l, 2)
	(&kernel{inodes: map[uint64]uint32{7: 71, 8: 80}}).examine(j)
	l.examined(j, now())
	got := make(map[uint64][]owners.Process)
	for _, e := range l.journal.after(0) {
		got[e.Cookie] = e.Owners
	}
	want := map[uint64][]owners.Process{7: nil, 8: {{PID: 42, Command: "leaky"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners in the history (-want +got):\n%s", diff)
	}
}

func TestWhatIsHeldByTheSameSharesMemory(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	a, b, c := leaks(l, ns, 1, moment(0), time.Second), leaks(l, ns, 2, moment(0), time.Second), leaks(l, ns, 3, moment(0), time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42}, 3)
	if a.owners != b.owners || len(a.owners.list) != 1 || len(c.owners.list) != 0 {
		t.Errorf("known are %+v, %+v and %+v", a.owners, b.owners, c.owners)
	}
}

// TestNothingIsDestroyedBeforeItsOwnersHaveBeenLookedUp has sockets that are past their grace when they are found.
func TestNothingIsDestroyedBeforeItsOwnersHaveBeenLookedUp(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	for cookie, inode := range map[uint64]uint32{7: 70, 8: 80} {
		seen := overdueLook(cookie)
		seen.Socket.Inode = inode
		see(l, ns.Identity, seen)
	}
	noneNext(t, l)
	k := nextLook(l, now())
	if !slices.Equal(asked(k), []uint32{70, 80}) {
		t.Fatalf("it looks for %v", asked(k))
	}
	seen := overdueLook(9)
	seen.Socket.Inode = 90
	see(l, ns.Identity, seen) // too late for that look
	answer(l, k, now(), owners.Process{PID: 42, Command: "leaky"}, 80)
	j := nextOf(t, l, 2)
	(&kernel{inodes: map[uint64]uint32{7: 70, 8: 80}}).examine(j)
	l.examined(j, now())
	got := make(map[uint64][]owners.Process)
	for _, e := range l.journal.after(0) {
		got[e.Cookie] = e.Owners
	}
	want := map[uint64][]owners.Process{7: {{PID: 42, Command: "leaky"}}, 8: nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners in the history (-want +got):\n%s", diff)
	}
	if k := nextLook(l, now()); !slices.Equal(asked(k), []uint32{90}) {
		t.Errorf("then it looks for %v", asked(k))
	}
}

func TestOwnersThatWereFoundLongAgoAreLookedUpAgainBeforeADestroy(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	c := leaks(l, ns, 7, moment(0), 3*time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42, Command: "leaky"})
	deadline := c.verdict.deadline
	late := moment(freshFor + time.Second)
	l.tracker.reconsider(c, late)
	if c.step.phase != phaseUnowned || c.verdict.deadline != deadline {
		t.Fatalf("it is %v, and its deadline has moved by %v", c.step.phase, c.verdict.deadline.Sub(deadline))
	}
	answer(l, nextLook(l, late), late, owners.Process{PID: 43, Command: "other"})
	if c.step.phase != phaseQueued || c.owners.list[0].PID != 43 {
		t.Errorf("it is %v, held by %v", c.step.phase, c.owners.list)
	}
}
