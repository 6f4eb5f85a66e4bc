// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// newTestLoop creates a loop with one namespace. The test acts as its finder, examiner and switch.
func newTestLoop(t *testing.T, mode policy.Mode) (*loop, *registered) {
	t.Helper()
	store := state.New(t.TempDir())
	l := newLoop(Config{
		Clock: monotime.Fake{}, Store: store, SwitchPath: filepath.Join(store.Dir(), "mode"), Mode: mode, Log: slog.New(slog.DiscardHandler),
	}, newWarnings(slog.New(slog.DiscardHandler)), newHistograms(), "boot", "")
	ns := newRegistered(1)
	l.registry.namespaces[ns.Identity] = ns
	ns.limit = l.caps.limit(ns)
	return l, ns
}

// turn sets the switch, and lets the loop read it.
func turn(t *testing.T, l *loop, mode policy.Mode) {
	t.Helper()
	if err := state.StoreSwitch(l.cfg.SwitchPath, state.Switch{Mode: mode, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	if !l.caps.refresh(l.caps.checkedAt.Add(switchCheckInterval)) {
		t.Fatal("the switch changes nothing")
	}
	l.applyMode(now())
}

// overdueLook is a finder's look at an overdue socket whose half-close the finder saw.
func overdueLook(cookie uint64) finder.Seen {
	at := now()
	return finder.Seen{Socket: closeWait(cookie, 2*testGrace), At: at, Entered: max(at.Add(-2*testGrace), 1)}
}

// nextOf takes the next job, which must exist and have n sockets.
func nextOf(t *testing.T, l *loop, sockets int) *job {
	t.Helper()
	j := l.nextJob(now(), time.Now())
	if j == nil || len(j.list) != sockets {
		t.Fatalf("the next job is %+v, want one of %d sockets", j, sockets)
	}
	return j
}

func noneNext(t *testing.T, l *loop) {
	t.Helper()
	if j := l.nextJob(now(), time.Now()); j != nil {
		t.Fatalf("there is another job, of %d sockets in mode %v", len(j.list), j.judge.limit)
	}
}

func outcomesOf(l *loop) map[string]int {
	found := make(map[string]int)
	for _, e := range l.history.after(0) {
		found[e.Outcome]++
	}
	return found
}

func TestSocketExaminedInAnotherModeIsExaminedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after policy.Mode
		history       map[string]int
	}{
		"observed, and to be destroyed now": {policy.Observe, policy.Destroy, map[string]int{api.WouldDestroy: 1, api.Destroyed: 1}},
		"off, and to be observed now":       {policy.Off, policy.Observe, map[string]int{api.WouldDestroy: 1}},
		"off, and to be destroyed now":      {policy.Off, policy.Destroy, map[string]int{api.Destroyed: 1}},
		"destroyed, and observed from now":  {policy.Destroy, policy.Observe, map[string]int{api.Destroyed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			if tc.before != policy.Destroy {
				turn(t, l, tc.before)
			}
			see(l, ns.Identity, overdueLook(7))
			k := new(kernel)
			if tc.before == policy.Off {
				noneNext(t, l)
				turn(t, l, tc.after)
			} else {
				j := nextOf(t, l, 1)
				k.examine(j)
				turn(t, l, tc.after) // while the examiner is at work
				l.examined(j, now())
			}
			j := nextOf(t, l, 1)
			k.examine(j)
			l.examined(j, now())
			noneNext(t, l)
			if got := outcomesOf(l); len(got) != len(tc.history) || got[api.Destroyed] != tc.history[api.Destroyed] || got[api.WouldDestroy] != tc.history[api.WouldDestroy] {
				t.Errorf("the history has %v, want %v", got, tc.history)
			}
		})
	}
}

func TestWouldDestroyIsRecordedOncePerIdleTime(t *testing.T) {
	l, ns := newTestLoop(t, policy.Observe)
	see(l, ns.Identity, overdueLook(7))
	for range 3 {
		j := l.nextJob(now(), time.Now())
		if j == nil {
			break
		}
		new(kernel).examine(j)
		sweep(l, ns, 7) // it shows the socket while the examiner is at work
		l.examined(j, now())
		sweep(l, ns, 7)
	}
	noneNext(t, l)
	if got := outcomesOf(l); got[api.WouldDestroy] != 1 || len(got) != 1 {
		t.Errorf("the history has %v", got)
	}
}

// sweep reports a whole sweep of the namespace with unchanged sockets.
func sweep(l *loop, ns *registered, cookies ...uint64) {
	began := now()
	var seen []finder.Seen
	for _, cookie := range cookies {
		at := now()
		age := time.Duration(0)
		if c := ns.candidates[cookie]; c != nil {
			age = at.Sub(c.history.Since)
		}
		seen = append(seen, finder.Seen{Socket: closeWait(cookie, age), At: at})
	}
	see(l, ns.Identity, seen...)
	l.swept(&finder.Sweep{Began: began}, []netns.Identity{ns.Identity})
}

func TestOnlyGoneSocketsAreDropped(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	sweep(l, ns, 1, 2, 3)
	since := ns.candidates[2].history.Since
	sweep(l, ns, 1) // neither 2 nor 3
	j := nextOf(t, l, 2)
	(&kernel{gone: map[uint64]bool{3: true}}).examine(j) // the dump missed the other
	l.examined(j, now())
	noneNext(t, l)
	if len(ns.candidates) != 2 || ns.candidates[2] == nil || ns.candidates[1] == nil {
		t.Fatalf("known are %v", ns.candidates)
	}
	if ns.candidates[2].history.Since != since {
		t.Error("what the dump missed has lost its age")
	}
}

func TestUnregisteredNamespaceIsDroppedWithItsQueues(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	l.budget = newBudget(1)
	l.budget.spend(time.Now(), 1) // it is fully removed
	see(l, ns.Identity, overdueLook(1), overdueLook(2))
	j := nextOf(t, l, 2)
	new(kernel).examine(j)
	l.examined(j, now())
	if l.tracker.budgetQ.Len() != 2 {
		t.Fatalf("%d wait for the budget", l.tracker.budgetQ.Len())
	}
	see(l, ns.Identity, overdueLook(3))
	j = nextOf(t, l, 1)
	new(kernel).examine(j)
	l.applyCensus(censusOf(l.registry)) // its DEL, while the examiner is at work
	l.examined(j, now())
	noneNext(t, l)
	if _, ok := l.tracker.nextDue(); ok || l.tracker.budgetQ.Len()+l.tracker.examineQ.Len() != 0 || len(ns.candidates) != 0 || !l.netnsChanged {
		t.Errorf("%d held, %d fresh, %d candidates are left", l.tracker.budgetQ.Len(), l.tracker.examineQ.Len(), len(ns.candidates))
	}
	see(l, ns.Identity, overdueLook(4)) // the finder has not heard of it yet
	noneNext(t, l)
}

func TestNamespaceThatIsNoLongerSweptDropsItsCandidates(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	r := recordOf(1, "eth0")
	r.Netns.Identity, r.Layers = ns.Identity, LayersOf(ns.policies[0])
	l.applyCensus(censusOf(l.registry, r))
	see(l, ns.Identity, overdueLook(1))
	j := nextOf(t, l, 1)
	new(kernel).examine(j)
	r.Layers = LayersOf(policy.Policy{Mode: policy.Off})
	l.applyCensus(censusOf(l.registry, r)) // while the examiner is at work
	l.examined(j, now())
	see(l, ns.Identity, overdueLook(1), overdueLook(2)) // the finder has not heard of it yet
	noneNext(t, l)
	if len(ns.candidates) != 0 {
		t.Errorf("%d candidates are left", len(ns.candidates))
	}
}

func TestOldResultIsNotAppliedToAnotherConnection(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	see(l, ns.Identity, overdueLook(7))
	j := nextOf(t, l, 1)
	(&kernel{gone: map[uint64]bool{7: true}}).examine(j)
	// The same cookie, connected to another peer since.
	s := closeWait(7, 0)
	s.ID = inetdiag.NewID(s.ID.Family(), s.ID.Local(), closeWait(9, 0).ID.Peer(), 0, 7)
	at := now().Add(time.Millisecond)
	see(l, ns.Identity, finder.Seen{Socket: s, At: at})
	l.examined(j, at)
	c := ns.candidates[7]
	if c == nil || c.history.ID != s.ID || c.verdict.reason != policy.WithinGrace {
		t.Errorf("of the new connection is known %+v", c)
	}
}

func TestLoopIdle(t *testing.T) {
	l, _ := newTestLoop(t, policy.Destroy)
	l.cfg.IdleExit, l.ready = time.Minute, true
	begin := l.idleSince
	idle := func(after time.Duration, want bool) {
		t.Helper()
		if got := l.isIdle(begin.Add(after)); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	idle(time.Minute-1, false)
	idle(time.Minute, true)
	l.registry.census.Active = 1
	idle(time.Hour, false)
	l.registry.census.Active = 0
	idle(time.Hour+time.Minute-1, false)
	idle(time.Hour+time.Minute, true)
	l.cfg.IdleExit = 0
	idle(100*time.Hour, false)
}

func TestLoopSleepsUntilThereIsWork(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	wall := time.Now()
	if got := l.untilWork(now(), wall); got < time.Minute {
		t.Errorf("with nothing to do it wakes up after %v", got)
	}
	at := now()
	l.tracker.seen(ns, &finder.Seen{Socket: closeWait(7, 0), At: at}, at)
	if got := l.untilWork(at, wall); got != testGrace {
		t.Errorf("with a grace of %v it wakes up after %v", testGrace, got)
	}
	if got := l.untilWork(at.Add(time.Hour), wall); got != 0 {
		t.Errorf("when it is late it waits %v", got)
	}
	l.examining = true
	if got := l.untilWork(at.Add(time.Hour), wall); got < time.Minute {
		t.Errorf("while the examiner is at work it wakes up after %v", got)
	}
}
