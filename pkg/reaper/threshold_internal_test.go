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
	"github.com/halfclose/halfclose/pkg/policy"
)

// leaveAlone adds a rule for all sockets with above: n.
func leaveAlone(ns *registered, n int) {
	ns.policies[0].Rules = append(ns.policies[0].Rules, policy.Rule{Values: policy.Values{Above: &n}})
}

// idleLooks are looks at sockets with the cookies from first on, each of which is idle for a second less than the one
// before; the first for longest.
func idleLooks(first uint64, n int, longest time.Duration) (looks []finder.Seen) {
	for i := range uint64(n) {
		looks = append(looks, idleLook(first+i, longest-time.Duration(i)*time.Second))
	}
	return looks
}

// pass lets time pass for a loop that is woken once a second.
func pass(l *loop, k *kernel, d time.Duration) {
	for range int(d / time.Second) {
		time.Sleep(time.Second)
		runUntilQuiet(l, k)
	}
}

func cookies(first uint64, n int) (list []uint64) {
	for i := range uint64(n) {
		list = append(list, first+i)
	}
	return list
}

func sorted(list []uint64) []uint64 { return slices.Sorted(slices.Values(list)) }

func TestAboveDestroysTheSocketsInExcessLongestIdleFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		leaveAlone(ns, 100)
		k := new(kernel)
		looks := idleLooks(1, 140, 139*time.Second)
		slices.Reverse(looks) // the order in which they are found is not that of their idle times
		see(l, ns.Identity, looks...)
		see(l, ns.Identity, idleLooks(500, 10, 9*time.Second)...)
		pass(l, k, testGrace+2*time.Second)
		// 500 to 509 have become due one by one. Each time the longest idle of the others was destroyed.
		if want := cookies(1, 50); !slices.Equal(sorted(k.destroyed), want) {
			t.Fatalf("destroyed are %v", sorted(k.destroyed))
		}
		see(l, ns.Identity, idleLooks(600, 10, time.Hour)...)
		pass(l, k, 5*time.Second)
		if want := slices.Concat(cookies(1, 50), cookies(600, 10)); !slices.Equal(sorted(k.destroyed), want) {
			t.Errorf("after ten more, destroyed are %v", sorted(k.destroyed))
		}
		pass(l, k, time.Minute)
		if len(k.destroyed) != 60 {
			t.Errorf("%d are destroyed with time", len(k.destroyed))
		}
		c := ns.candidates[100]
		if c.isOverdue(now()) || c.verdict.reason != policy.BelowThreshold || c.step.phase != phaseTimed {
			t.Errorf("one that stays is %v, %v", c.verdict.reason, c.step.phase)
		}
		var s survey
		l.survey(ns.Identity, &s)
		for _, v := range s.fromMemory(api.SocketQuery{}) {
			if v.Verdict != policy.BelowThreshold {
				t.Errorf("one is listed as %v: %s", v.Verdict, v.Why)
			}
		}
	})
}

func TestSelectionIsMadeAtMostOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		leaveAlone(ns, 1)
		k := new(kernel)
		see(l, ns.Identity, overdueLook(1))
		runUntilQuiet(l, k)
		see(l, ns.Identity, overdueLook(2), overdueLook(3))
		time.Sleep(selectInterval - time.Nanosecond)
		runUntilQuiet(l, k)
		if len(k.destroyed) != 0 {
			t.Fatalf("destroyed within the second: %v", k.destroyed)
		}
		time.Sleep(time.Nanosecond)
		runUntilQuiet(l, k)
		if !slices.Equal(sorted(k.destroyed), []uint64{1, 2}) {
			t.Errorf("destroyed are %v", k.destroyed)
		}
	})
}

func TestNoSocketIsDestroyedAfterASparedOneClosesUntilTheNextSelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		leaveAlone(ns, 3)
		l.budget = newBudget(1)
		for range 3 {
			l.budget.spend(l.clock.Wall(), 1) // its state is dropped after three seconds
		}
		k := &kernel{gone: map[uint64]bool{}}
		for i := range uint64(5) {
			see(l, ns.Identity, idleLook(i+1, time.Hour-time.Duration(i)*time.Second))
		}
		runUntilQuiet(l, k)
		if l.tracker.budgetQ.Len() != 2 || len(k.destroyed) != 0 {
			t.Fatalf("%d wait for the budget, %v are destroyed", l.tracker.budgetQ.Len(), k.destroyed)
		}
		k.gone[4], k.gone[5] = true, true // two that stayed
		time.Sleep(time.Millisecond)
		sweep(l, ns, 1, 2, 3)
		pass(l, k, time.Minute)
		if len(k.destroyed) != 0 || len(ns.candidates) != 3 {
			t.Errorf("destroyed are %v; %d are left", k.destroyed, len(ns.candidates))
		}
	})
}

func TestAboveDelaysNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace = policy.Patience(testProbeAfter)
		leaveAlone(ns, 10)
		see(l, ns.Identity, idleLook(7, testProbeAfter))
		runUntilQuiet(l, new(kernel))
		if q := a.last(t); q.ID.Cookie() != 7 || ns.candidates[7].step.phase != phaseAsking {
			t.Errorf("it asks %v", q)
		}
	})
}

func TestWithoutAnAboveRuleThereIsNoSelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		see(l, ns.Identity, idleLooks(1, 10, time.Hour)...)
		if len(l.tracker.toSelect) != 0 {
			t.Error("a choice is due in the network namespace")
		}
		runUntilQuiet(l, new(kernel))
		if !ns.surplus.selectedAt.IsZero() {
			t.Error("it was chosen in the network namespace")
		}
	})
}

func TestChangedAboveAppliesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		leaveAlone(ns, 10)
		k := new(kernel)
		see(l, ns.Identity, idleLooks(1, 10, time.Hour)...)
		pass(l, k, 5*time.Second)
		if len(k.destroyed) != 0 {
			t.Fatalf("destroyed are %v", k.destroyed)
		}
		ns.policies = newRegistered(1).policies
		leaveAlone(ns, 8)
		l.tracker.rejudge(ns, now())
		runUntilQuiet(l, k)
		if !slices.Equal(sorted(k.destroyed), []uint64{1, 2}) {
			t.Errorf("destroyed are %v", k.destroyed)
		}
	})
}
