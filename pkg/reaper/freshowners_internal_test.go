// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
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

// frozenFor is a condition of an owner that runs, and whose cgroup was frozen for that time.
func frozenFor(cgroup uint64, d time.Duration) owners.Condition {
	return owners.Condition{Pause: owners.Running, HasFrozenTime: true, FrozenTime: d, Cgroup: cgroup}
}

// TestOnlyFrozenTimeOfTheConnectionIsExcluded has owners that run at each reading.
func TestOnlyFrozenTimeOfTheConnectionIsExcluded(t *testing.T) {
	const grace, earlier = 40 * time.Second, 8 * time.Hour // earlier: before the connection
	type reading struct {
		at       time.Duration
		owner    owners.Condition
		excluded time.Duration // from the idle time, after it
	}
	exited := owners.Condition{Exited: true}
	for name, readings := range map[string][]reading{
		"none after the first reading": {{10 * time.Second, frozenFor(1, earlier), 10 * time.Second}, {20 * time.Second, frozenFor(1, earlier), 10 * time.Second}},
		"ten seconds after it": {
			{10 * time.Second, frozenFor(1, earlier), 10 * time.Second},
			{21 * time.Second, frozenFor(1, earlier+10*time.Second), 20 * time.Second},
			{30 * time.Second, frozenFor(1, earlier+10*time.Second), 20 * time.Second},
		},
		"another cgroup, of which nothing is known": {{10 * time.Second, frozenFor(1, 0), 0}, {20 * time.Second, frozenFor(2, earlier), 20 * time.Second}},
		"another cgroup with less":                  {{10 * time.Second, frozenFor(1, earlier), 10 * time.Second}, {25 * time.Second, frozenFor(2, 12*time.Second), 22 * time.Second}},
		"a reading without the figure": {
			{10 * time.Second, frozenFor(1, earlier), 10 * time.Second},
			{20 * time.Second, owners.Condition{Pause: owners.Running}, 10 * time.Second},
			{28 * time.Second, frozenFor(1, earlier), 28 * time.Second}, // it may have been frozen since the first one
		},
		"an owner that exits, and leaves the socket to another": {
			{10 * time.Second, frozenFor(1, 0), 0}, {20 * time.Second, exited, 0}, {21 * time.Second, frozenFor(1, 0), 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newReadingLoop(t, 0)
			ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(grace), policy.Never
			look := finder.Seen{Socket: closeWait(7, 0), At: moment(0), Entered: moment(0)}
			look.Socket.Inode = 7
			l.tracker.seen(ns, &look, moment(0))
			c := ns.candidates[7]
			for _, read := range readings {
				l.owners.nextSample = 0
				if c.owners == nil || len(c.owners.facts) == 0 {
					l.tracker.handle(c, eventOwnersNeeded, moment(read.at))
				}
				k := nextLook(l, moment(read.at))
				if k == nil {
					t.Fatalf("nothing is read at %v", read.at)
				}
				k.conditions = map[int]owners.Condition{42: read.owner}
				answer(l, k, moment(read.at), owners.Process{PID: 42})
				if got := c.history.FrozenIdle; got != read.excluded {
					t.Errorf("at %v, %v are excluded, want %v", read.at, got, read.excluded)
				}
			}
		})
	}
}

// TestFrozenTimeBeforeProgressCountsForTheClockOfTheState has an owner that is frozen for ten minutes, runs, and moves a byte before the
// next reading.
func TestFrozenTimeBeforeProgressCountsForTheClockOfTheState(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter, ns.policies[0].Clock = policy.Patience(time.Hour), policy.Never, policy.ClockState
	look := finder.Seen{Socket: closeWait(7, 0), At: moment(0), Entered: moment(0)}
	look.Socket.Inode = 7
	l.tracker.seen(ns, &look, moment(0))
	c := ns.candidates[7]
	read := func(at, frozen time.Duration) {
		t.Helper()
		l.owners.nextSample = 0
		k := nextLook(l, moment(at))
		if k == nil {
			t.Fatalf("nothing is read at %v", at)
		}
		k.conditions = map[int]owners.Condition{42: frozenFor(1, frozen)}
		answer(l, k, moment(at), owners.Process{PID: 42})
	}
	read(15*time.Minute, 0)
	moved := finder.Seen{Socket: closeWait(7, 29*time.Minute), At: moment(29 * time.Minute)}
	moved.Socket.Inode = 7
	moved.Socket.Info.BytesAcked += 5
	l.tracker.seen(ns, &moved, moved.At)
	if c.history.Progress != moment(29*time.Minute) {
		t.Fatalf("its progress is at %v", c.history.Progress)
	}
	read(30*time.Minute, 10*time.Minute)
	if got, want := c.verdict.deadline, moment(70*time.Minute); got != want {
		t.Errorf("it is destroyed at %v, want %v", got.Sub(moment(0)), want.Sub(moment(0)))
	}
}

// TestAnOwnerThatWasFrozenSinceTheLastReadingGetsThatTime has an owner that was frozen for three seconds, and runs again just before
// the destroy of its socket.
func TestAnOwnerThatWasFrozenSinceTheLastReadingGetsThatTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newReadingLoop(t, 0)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		k := &kernel{conditions: map[int]owners.Condition{42: frozenFor(1, 3*time.Second)}, inodes: map[uint64]uint32{7: 7}}
		leakIn(l, ns, 7, now(), 3*time.Second)
		look := nextLook(l, now())
		look.conditions = map[int]owners.Condition{42: frozenFor(1, 0)}
		answer(l, look, now(), owners.Process{PID: 42})
		due := now().Add(3 * time.Second)
		for now().Before(due.Add(2 * time.Second)) {
			time.Sleep(time.Second)
			runUntilQuiet(l, k)
		}
		if len(k.destroyed) != 0 {
			t.Fatalf("destroyed %v after its deadline", now().Sub(due))
		}
		time.Sleep(time.Second)
		runUntilQuiet(l, k)
		if !slices.Equal(k.destroyed, []uint64{7}) {
			t.Errorf("destroyed are %v: it is %v, due in %v", k.destroyed, ns.candidates[7].verdict.reason, ns.candidates[7].verdict.deadline.Sub(now()))
		}
	})
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
	c := ns.candidates[1]
	if c.verdict.reason != policy.OwnerFrozen || c.step.dueAt != moment(ownersLifetime) {
		t.Errorf("it is %v, and its owners are read again after %v", c.verdict.reason, c.step.dueAt.Sub(moment(0)))
	}
	for at := time.Duration(0); at < ownersLifetime; at += time.Second {
		if j := l.nextJob(moment(at), time.Now()); j != nil {
			t.Fatalf("after %v, sockets of frozen owners are looked at", at)
		}
	}
	l.nextJob(moment(ownersLifetime), time.Now())
	if k = nextLook(l, moment(ownersLifetime)); c.step.phase != phaseUnowned || len(asked(k)) != sockets {
		t.Errorf("then it is %v, and %d are looked up", c.step.phase, len(asked(k)))
	}
}

// TestJointFrozenTimeIsThatOfTheCgroupThatWasFrozenLeast has owners in two cgroups.
func TestJointFrozenTimeIsThatOfTheCgroupThatWasFrozenLeast(t *testing.T) {
	set := func(first, second owners.Condition) *ownerSet {
		h := &ownerSet{list: []owners.Process{{PID: 1}, {PID: 2}}}
		h.setConditions(map[int]owners.Condition{1: first, 2: second})
		return h
	}
	before := set(frozenFor(1, 8*time.Hour), frozenFor(2, 0))
	for name, tt := range map[string]struct {
		now  *ownerSet
		want time.Duration
		ok   bool
	}{
		"one runs":                    {set(frozenFor(1, 8*time.Hour), frozenFor(2, time.Minute)), 0, true},
		"both were frozen":            {set(frozenFor(1, 8*time.Hour+time.Second), frozenFor(2, time.Minute)), time.Second, true},
		"one has exited":              {set(owners.Condition{Exited: true}, frozenFor(2, time.Minute)), time.Minute, true},
		"one is in another cgroup":    {set(frozenFor(1, 8*time.Hour), frozenFor(3, time.Minute)), 0, false},
		"the kernel does not count":   {set(frozenFor(1, 8*time.Hour), owners.Condition{Pause: owners.Running}), 0, false},
		"there was no reading before": {nil, 0, false},
	} {
		if got, ok := tt.now.frozenSince(before); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %v, known %t", name, got, ok)
		}
	}
}

// TestAnEndWhoseOwnersAreAboutToFreezeDelaysTheOtherOnce has a figure that grows at each reading, as in a cgroup that is being frozen.
func TestAnEndWhoseOwnersAreAboutToFreezeDelaysTheOtherOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newReadingLoop(t, 0)
		other := newRegistered(2)
		l.registry.namespaces[other.Identity] = other
		other.limit = l.caps.limit(other)
		other.policies[0].FinWait2Grace, other.policies[0].ProbeAfter = policy.Patience(time.Hour), policy.Never
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		peer := peerLook(7, 0)
		peer.Socket.Inode = 77
		k := &kernel{conditions: map[int]owners.Condition{42: frozenFor(1, 0), 43: frozenFor(2, 0)}, inodes: map[uint64]uint32{7: 7}}
		k.sockets = map[uint64]inetdiag.Socket{peerCookie(7): peer.Socket}
		see(l, other.Identity, peer)
		leakIn(l, ns, 7, now(), 2*time.Second)
		look := nextLook(l, now())
		look.found, look.whole = map[uint32][]owners.Process{7: {{PID: 42}}, 77: {{PID: 43}}}, map[uint32]bool{7: true, 77: true}
		look.conditions = maps.Clone(k.conditions)
		finish(l, look, now())
		time.Sleep(3 * time.Second)
		jobs := 0
		for j := l.nextJob(now(), l.clock.Wall()); j != nil && jobs < 100; j = l.nextJob(now(), l.clock.Wall()) {
			k.conditions[43] = frozenFor(2, k.conditions[43].FrozenTime+time.Millisecond)
			k.examine(j)
			l.examined(j, now())
			jobs++
		}
		if jobs > 5 || !slices.Equal(k.destroyed, []uint64{7}) {
			t.Errorf("after %d jobs, destroyed are %v", jobs, k.destroyed)
		}
	})
}

// TestASocketWhoseModeForbidsItsDestroyIsLookedAtAfterItsOwnersWereFrozen has owners that a sample finds frozen after they have expired.
func TestASocketWhoseModeForbidsItsDestroyIsLookedAtAfterItsOwnersWereFrozen(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	c := leakIn(l, ns, 7, moment(0), 3*time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42})
	c.step = step{phase: phaseForbidden, since: moment(3 * time.Second)}
	c.owners.until = moment(time.Second)
	k := nextLook(l, moment(testGrace))
	k.conditions = map[int]owners.Condition{42: {Pause: owners.Frozen}}
	finish(l, k, moment(testGrace))
	if c.verdict.reason != policy.OwnerFrozen || c.step.dueAt.IsZero() {
		t.Errorf("it is %v, and the next look is at %v", c.verdict.reason, c.step.dueAt)
	}
}
