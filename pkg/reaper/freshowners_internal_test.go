// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestOwnerThatFreezesAfterItsLookUpSparesItsSocket lets the owner run at each look-up, and freezes it just before the destroy.
func TestOwnerThatFreezesAfterItsLookUpSparesItsSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, _ := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		l.owners = l.newOwnerLookups(owners.NewProc("/proc"), 0, now())
		l.tracker.findsOwners = true
		see(l, ns.Identity, idleLook(7, 0))
		k := &kernel{conditions: map[int]owners.Condition{42: {Pause: owners.Frozen, Sigpipe: owners.SigpipeIgnored}}}
		run := func(d time.Duration) {
			for range d / time.Second {
				time.Sleep(time.Second)
				runUntilQuiet(l, k)
				if look := nextLook(l, now()); look != nil {
					look.found = map[uint32][]owners.Process{1: {{PID: 42}}}
					look.conditions = map[int]owners.Condition{42: {Pause: owners.Running, Sigpipe: owners.SigpipeIgnored}}
					finish(l, look, now())
				}
				runUntilQuiet(l, k)
			}
		}
		run(testGrace + time.Minute)
		if n := outcomesOf(l)[api.Destroyed]; n != 0 {
			t.Fatalf("%d were destroyed while their owner was frozen", n)
		}
		k.conditions[42] = owners.Condition{Pause: owners.Running, Sigpipe: owners.SigpipeIgnored}
		run(2*testGrace + ownersLifetime)
		if n := outcomesOf(l)[api.Destroyed]; n != 1 {
			t.Errorf("%d were destroyed after their owner ran again", n)
		}
	})
}

// TestAReadingDuringAJobCountsAfterIt has an owner that was frozen past the grace, and is read as running while the examiner works on
// its socket.
func TestAReadingDuringAJobCountsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newReadingLoop(t, 0)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		k := &kernel{conditions: map[int]owners.Condition{42: {Pause: owners.Running}}, inodes: map[uint64]uint32{7: 7}}
		c := leakIn(l, ns, 7, now(), time.Second)
		look := nextLook(l, now())
		look.conditions = map[int]owners.Condition{42: {Pause: owners.Frozen}}
		answer(l, look, now(), owners.Process{PID: 42})
		time.Sleep(2 * testGrace)
		runUntilQuiet(l, k)
		if c.step.phase != phaseUnowned {
			t.Fatalf("it is %v, since %v", c.step.phase, c.verdict.reason)
		}
		look = nextLook(l, now())
		l.tracker.handle(c, eventNotShown, now()) // by a sweep
		j := l.nextJob(now(), l.clock.Wall())
		look.conditions = map[int]owners.Condition{42: {Pause: owners.Running}}
		answer(l, look, now(), owners.Process{PID: 42})
		k.examine(j)
		l.examined(j, now())
		runUntilQuiet(l, k)
		if len(k.destroyed) != 0 || c.verdict.deadline.Before(now().Add(testGrace)) {
			t.Errorf("destroyed are %v; its deadline is in %v", k.destroyed, c.verdict.deadline.Sub(now()))
		}
	})
}

// TestAnOwnerThatHasExitedSparesItsSocketUntilTheNextLookUp has an owner that exits after its look-up, and leaves the socket to a
// process that is frozen. A second socket keeps its owner.
func TestAnOwnerThatHasExitedSparesItsSocketUntilTheNextLookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newReadingLoop(t, 0)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		k := &kernel{
			conditions: map[int]owners.Condition{42: {Exited: true}, 43: {Pause: owners.Running}, 44: {Pause: owners.Frozen}},
			inodes:     map[uint64]uint32{7: 7, 8: 8},
		}
		leakIn(l, ns, 7, now(), time.Second)
		leakIn(l, ns, 8, now(), time.Second)
		by := map[uint32][]owners.Process{7: {{PID: 42}}, 8: {{PID: 43}}}
		find := func(conditions map[int]owners.Condition) (isAsked bool) {
			look := nextLook(l, now())
			if look == nil {
				return false
			}
			look.found, look.whole, look.conditions = by, map[uint32]bool{7: true, 8: true}, conditions
			finish(l, look, now())
			return true
		}
		if !find(map[int]owners.Condition{42: {Pause: owners.Running}, 43: {Pause: owners.Running}}) {
			t.Fatal("no owners are looked up")
		}
		time.Sleep(time.Second)
		runUntilQuiet(l, k)
		if !slices.Equal(k.destroyed, []uint64{8}) {
			t.Fatalf("destroyed are %v", k.destroyed)
		}
		by[7] = []owners.Process{{PID: 44}}
		if !find(k.conditions) {
			t.Error("its owners are not looked up again")
		}
		runUntilQuiet(l, k)
		if c := ns.candidates[7]; c == nil || c.verdict.reason != policy.OwnerFrozen {
			t.Errorf("destroyed are %v; it is %+v", k.destroyed, c)
		}
	})
}

// TestOnlyFrozenTimeOfTheConnectionIsExcluded has an owner whose cgroup was frozen for eight hours before the connection, and for
// ten seconds between two readings of it.
func TestOnlyFrozenTimeOfTheConnectionIsExcluded(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	const grace = 40 * time.Second
	ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(grace), policy.Never
	look := finder.Seen{Socket: closeWait(7, 0), At: moment(0), Entered: moment(0)}
	look.Socket.Inode = 7
	l.tracker.seen(ns, &look, moment(0))
	c := ns.candidates[7]
	const first = grace / 4
	for _, read := range []struct {
		at, frozen, excluded time.Duration
	}{
		{first, 8 * time.Hour, first}, // how much of it was before the connection is unknown
		{first + grace/4, 8 * time.Hour, first},
		{first + grace/2, 8*time.Hour + 10*time.Second, first + 10*time.Second},
		{first + grace*3/4, 8*time.Hour + 10*time.Second, first + 10*time.Second},
	} {
		k := nextLook(l, moment(read.at))
		if k == nil {
			l.owners.nextSample = 0
			if k = nextLook(l, moment(read.at)); k == nil {
				t.Fatalf("nothing is read at %v", read.at)
			}
		}
		k.conditions = map[int]owners.Condition{42: {Pause: owners.Running, HasFrozenTime: true, FrozenTime: read.frozen}}
		answer(l, k, moment(read.at), owners.Process{PID: 42})
		if got := c.history.Frozen; got != read.excluded {
			t.Errorf("at %v, %v are excluded, want %v", read.at, got, read.excluded)
		}
	}
}

// TestAThawIsNoticedWithinHalfAMinuteBesideManySockets has a rate limit with which the owners of sockets that wait for it count as known
// for ten minutes.
func TestAThawIsNoticedWithinHalfAMinuteBesideManySockets(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	l.owners.perSecond = 1
	const sockets = 1000
	for i := range uint64(sockets) {
		leakIn(l, ns, i+1, moment(0), 0)
	}
	k := nextLook(l, moment(0))
	k.conditions = map[int]owners.Condition{42: {Pause: owners.Frozen}}
	answer(l, k, moment(0), owners.Process{PID: 42})
	if c := ns.candidates[1]; c.verdict.reason != policy.OwnerFrozen || c.owners.until != moment(ownersLifetime) {
		t.Errorf("it is %v, and its owners count as known for %v", c.verdict.reason, c.owners.until.Sub(moment(0)))
	}
}
