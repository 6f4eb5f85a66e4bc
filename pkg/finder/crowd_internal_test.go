// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/pacing"
)

func TestACrowdInDebtDelaysNoOtherSweep(t *testing.T) {
	crowded, other := testNetns(t), testNetns(t)
	f := NewSockDiag(Config{Root: testRoot(t), Clock: nstest.Clock(t), CPUBudget: wholeCore})
	f.sink = &slowSink{clock: f.clock}
	f.targets, f.crowd.members[crowded.Identity] = []Netns{crowded, other}, true
	f.assign()
	now := f.clock.Now()
	f.crowd.pacer.Spend(now, time.Hour)
	if wait := f.crowd.idleAlone(now); wait < time.Hour {
		t.Errorf("the crowd is due in %v", wait)
	}
	if sweep, complete := f.sweeps.sweep(now, f.sink); !complete || sweep.Netns[0] != other.Identity {
		t.Errorf("the next sweep is of %v, complete: %v", sweep.Netns, complete)
	}
}

func TestACrowdGetsItsPartOfTheBudgetAndNoMore(t *testing.T) {
	n, other := testNetns(t), testNetns(t)
	f := NewSockDiag(Config{Root: testRoot(t), Clock: nstest.Clock(t), CPUBudget: 0.02})
	now := f.clock.Now()
	debt := func(p *pacing.Pacer) time.Duration { // the time that pays for another 10 ms
		p.Spend(now, time.Hour)
		before := p.Wait(now)
		p.Spend(now, 10*time.Millisecond)
		return (p.Wait(now) - before).Round(time.Millisecond)
	}
	f.replaceTargets([]Netns{n, other})
	if got := debt(f.sweeps.pacer); got != 500*time.Millisecond {
		t.Errorf("without a crowd 10 ms take %v at 2 %%", got)
	}
	f.crowd.members[n.Identity] = true
	f.assign()
	if got, want := debt(f.crowd.pacer), 2*time.Second; got != want {
		t.Errorf("10 ms of the crowd take %v, want %v", got, want)
	}
	if got, want := debt(f.sweeps.pacer), 667*time.Millisecond; got != want {
		t.Errorf("10 ms of the others take %v, want %v", got, want)
	}
	f.replaceTargets([]Netns{other})
	if got := debt(f.sweeps.pacer); got != 500*time.Millisecond || len(f.crowd.members) > 0 {
		t.Errorf("after the crowd 10 ms take %v; its members are %v", got, f.crowd.members)
	}
}

func TestANetnsKeepsItsTimesAsItJoinsACrowd(t *testing.T) {
	n, other := testNetns(t), testNetns(t)
	f := NewSockDiag(Config{Root: testRoot(t), Clock: nstest.Clock(t), CPUBudget: wholeCore})
	f.replaceTargets([]Netns{n, other})
	due := f.clock.Now().Add(-3 * time.Second)
	f.sweeps.queue.byID[n.Identity].due = due
	f.crowd.members[n.Identity] = true
	f.assign()
	if e := f.crowd.queue.byID[n.Identity]; e == nil || e.due != due || f.sweeps.queue.byID[n.Identity] != nil {
		t.Errorf("in the crowd it is %+v", e)
	}
	delete(f.crowd.members, n.Identity)
	f.assign()
	if e := f.sweeps.queue.byID[n.Identity]; e == nil || e.due != due || len(f.crowd.list()) > 0 {
		t.Errorf("among the others it is %+v", e)
	}
}

func TestACostlyWalkDelaysNoRead(t *testing.T) {
	f, _ := newTestBPF(t, testNetns(t), true)
	f.walk(t.Context(), f.clock.Now())
	now := f.clock.Now()
	f.pacer.Spend(now, time.Hour)
	f.nextRead, f.nextWalk = now, now
	f.step(t.Context(), now)
	if !f.lastRead.Before(now) && f.nextWalk == now {
		return // it has read, and not walked
	}
	t.Errorf("the last read was %v ago, the next walk is due in %v", now.Sub(f.lastRead), f.nextWalk.Sub(now))
}

func TestAnAuditOfANetnsThatLeavesTheSetProvesNothing(t *testing.T) {
	f, _ := newTestBPF(t, testNetns(t), true)
	f.walk(t.Context(), f.clock.Now())
	f.sweepNext(f.clock.Now())
	entry := f.audits.queue.peek()
	if entry == nil {
		t.Fatal("no audit is due after the first sweep")
	}
	f.states[entry.netns.Identity.Cookie].spill.leave(f.clock.Now(), time.Hour)
	f.watch(f.clock.Now())
	entry.due = f.clock.Now()
	f.auditNext(t.Context(), f.clock.Now())
	if f.fallback != nil {
		t.Errorf("it falls back: %s", f.fallback.why)
	}
}

func TestThePauseBeforeANetnsIsWatchedAgainDoubles(t *testing.T) {
	var s spill
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600} {
		now := moment(time.Duration(i) * time.Hour)
		s.leave(now, 10*time.Second)
		if got := s.retry.Sub(now); got != want*time.Second || !s.out {
			t.Errorf("the %d. time it is not watched for %v, want %v", i, got, want*time.Second)
		}
		s.out, s.returned = false, now.Add(time.Hour-time.Minute)
	}
	s.leave(s.returned.Add(maxRetryPause), 10*time.Second)
	if got := s.retry.Sub(s.returned); got != maxRetryPause+10*time.Second {
		t.Errorf("after it was watched for long, it is watched again after %v", got)
	}
}
