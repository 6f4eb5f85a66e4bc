// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// dueAt lists the cookies of the due candidates.
func dueAt(t *tracker, at monotime.Time) []uint64 {
	var cookies []uint64
	t.handleDue(at)
	for ns, list := t.examineQ.Pop(100); ns != nil; ns, list = t.examineQ.Pop(100) {
		for _, c := range list {
			cookies = append(cookies, c.history.ID.Cookie())
			t.handle(c, eventTaken, at)
		}
	}
	slices.Sort(cookies)
	return cookies
}

func TestTrackerQueuesASocketWhenItsGraceEnds(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	seen := seenAt(7, 5*time.Second, moment(0))
	seen.Entered = moment(-5 * time.Second)
	tr.seen(ns, seen, moment(0))
	if got := dueAt(&tr, moment(testGrace-5*time.Second-1)); got != nil {
		t.Errorf("due before its grace has ended: %v", got)
	}
	if next, ok := tr.nextDue(); !ok || next != moment(testGrace-5*time.Second) {
		t.Errorf("next look at %v, %v", next, ok)
	}
	if got := dueAt(&tr, moment(testGrace-5*time.Second)); !slices.Equal(got, []uint64{7}) {
		t.Errorf("due at the end of its grace: %v", got)
	}
	if _, ok := tr.nextDue(); ok {
		t.Error("what was due is due again")
	}
}

func TestTrackerQueuesAnOverdueSocketAgain(t *testing.T) {
	t.Run("after its whole grace, if it was found late", func(t *testing.T) {
		tr := newTracker()
		ns := newRegistered(1)
		tr.seen(ns, seenAt(7, time.Hour, moment(0)), moment(0))
		if next, _ := tr.nextDue(); next != moment(testGrace) || ns.candidates[7].verdict.reason != policy.WithinGrace {
			t.Errorf("next look at %v for being %v", next.Sub(moment(0)), ns.candidates[7].verdict.reason)
		}
	})
	t.Run("at once, if its entry was seen", func(t *testing.T) {
		tr := newTracker()
		ns := newRegistered(1)
		seen := seenAt(7, time.Hour, moment(0))
		seen.Entered = moment(-time.Hour)
		tr.seen(ns, seen, moment(3))
		if got := dueAt(&tr, moment(3)); !slices.Equal(got, []uint64{7}) {
			t.Errorf("due is %v", got)
		}
	})
	t.Run("no more while the mode forbids the destroy", func(t *testing.T) {
		tr := newTracker()
		ns := newRegistered(1)
		seen := seenAt(7, time.Hour, moment(0))
		seen.Entered = moment(-time.Hour)
		tr.seen(ns, seen, moment(0))
		dueAt(&tr, moment(0))
		tr.handle(ns.candidates[7], eventDestroyForbidden, moment(0))
		tr.seen(ns, seenAt(7, time.Hour+time.Second, moment(time.Second)), moment(time.Second))
		if got := dueAt(&tr, moment(time.Hour)); got != nil {
			t.Errorf("due is %v", got)
		}
	})
}

func TestTrackerIgnoresAnEarlierLook(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, time.Second, moment(time.Second)), moment(time.Second))
	late := seenAt(7, 0, moment(0))
	late.Socket.Info.BytesReceived += 10
	tr.seen(ns, late, moment(2*time.Second))
	if c := ns.candidates[7]; !c.history.Progress.IsZero() || c.history.Last != moment(time.Second) {
		t.Errorf("a look from before changed the history: %+v", c.history)
	}
}

func TestProgressPostponesAndAllowsAnotherRecord(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, 0, moment(0)), moment(0))
	ns.candidates[7].step.phase = phaseForbidden
	moved := seenAt(7, 0, moment(10*time.Second))
	moved.Socket.Info.BytesAcked += 10
	moved.Socket.Info.SegsIn++
	tr.seen(ns, moved, moment(10*time.Second))
	if next, _ := tr.nextDue(); next != moment(10*time.Second+testGrace) {
		t.Errorf("next look at %v", next.Sub(moment(0)))
	}
	if got := ns.candidates[7].step.phase; got != phaseTimed {
		t.Errorf("it is %v", got)
	}
}

func TestCandidatesThatASweepDoesNotShowAreQueued(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	for cookie := range uint64(4) {
		tr.seen(ns, seenAt(cookie, 0, moment(0)), moment(0))
	}
	swept := moment(time.Second)
	tr.seen(ns, seenAt(1, 0, swept.Add(time.Millisecond)), swept.Add(time.Millisecond)) // the sweep showed it
	tr.handle(ns.candidates[2], eventTimeCame, swept)                                   // it is examined anyway
	tr.queueNotShown(ns, swept, swept)
	if got := dueAt(&tr, swept); !slices.Equal(got, []uint64{0, 2, 3}) || tr.events[eventNotShown] != 3 {
		t.Errorf("to be looked at are %v, %d of them missed", got, tr.events[eventNotShown])
	}
}

func TestTrackerRejudgesAfterAChange(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, 0, moment(0)), moment(0))
	tr.seen(ns, seenAt(7, 10*time.Second, moment(10*time.Second)), moment(10*time.Second))
	judge := func(change func(*policy.Policy)) (monotime.Time, policy.Reason) {
		p := ns.policies[0]
		change(&p)
		ns.policies = []policy.Policy{p}
		ns.candidates[7].step.phase = phaseForbidden
		tr.rejudge(ns, moment(11*time.Second))
		next, _ := tr.nextDue()
		if got := ns.candidates[7].step.phase; got == phaseForbidden {
			t.Errorf("it is still %v", got)
		}
		return next, ns.candidates[7].verdict.reason
	}
	if next, reason := judge(func(p *policy.Policy) { p.CloseWaitGrace = policy.Patience(5 * time.Second) }); !slices.Equal(dueAt(&tr, moment(11*time.Second)), []uint64{7}) || reason != policy.Destroyable {
		t.Errorf("with a shorter grace: next look at %v, %v", next.Sub(moment(0)), reason)
	}
	if next, reason := judge(func(p *policy.Policy) { p.CloseWaitGrace = policy.Patience(time.Minute) }); next != moment(time.Minute) || reason != policy.WithinGrace {
		t.Errorf("with a longer grace: next look at %v, %v", next.Sub(moment(0)), reason)
	}
	if _, reason := judge(func(p *policy.Policy) { p.Mode = policy.Off }); reason != policy.ModeOff || tr.agenda.Len() != 0 {
		t.Errorf("with mode off: %v, %d on the agenda", reason, tr.agenda.Len())
	}
}

func TestTrackerRestores(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	saved := policy.Follow(nil, policy.Look{At: moment(0), Socket: &seenAt(7, time.Minute, 0).Socket})
	tr.restore(ns, aged{history: saved}, moment(time.Second))
	c := ns.candidates[7]
	if c == nil || c.history != saved || c.verdict.reason != policy.Unknown {
		t.Fatalf("restored as %+v", c)
	}
	if got := dueAt(&tr, moment(time.Second)); !slices.Equal(got, []uint64{7}) {
		t.Errorf("due at once: %v", got)
	}
	other := saved
	other.Since = moment(-time.Hour)
	tr.restore(ns, aged{history: other}, moment(time.Second))
	if ns.candidates[7] != c || c.history != saved {
		t.Error("what is known already was replaced")
	}
}

func TestTrackerReportsUnsavedChanges(t *testing.T) {
	tr := newTracker()
	ns := newRegistered(1)
	step := func(what string, want bool, do func()) {
		t.Helper()
		tr.changed = false
		if do(); tr.changed != want {
			t.Errorf("after %s: %v, want %v", what, tr.changed, want)
		}
	}
	step("a first look", true, func() { tr.seen(ns, seenAt(7, 0, moment(0)), moment(0)) })
	step("a look that shows nothing new", false, func() { tr.seen(ns, seenAt(7, time.Second, moment(time.Second)), moment(time.Second)) })
	step("progress", true, func() {
		s := seenAt(7, 0, moment(2*time.Second))
		s.Socket.Info.BytesAcked++
		s.Socket.Info.SegsIn++
		tr.seen(ns, s, moment(2*time.Second))
	})
	step("the end", true, func() { tr.forget(ns, moment(3*time.Second)) })
}

// TestTrackerAgendaStaysInOrder fires random events. It checks that each candidate's index on the agenda is right, that
// the earliest candidate is first, and that each is in the queue of its phase.
func TestTrackerAgendaStaysInOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tr := newTracker()
	namespaces := []*registered{newRegistered(1), newRegistered(2)}
	at := moment(0)
	for i := range 20_000 {
		at = at.Add(time.Duration(rnd.IntN(int(time.Second))))
		ns := namespaces[rnd.IntN(2)]
		switch cookie := rnd.Uint64N(40); rnd.IntN(10) {
		case 0, 1:
			e := event(rnd.IntN(int(numEvents)))
			if c := ns.candidates[cookie]; c != nil && e != eventTaken && e != eventForgotten {
				tr.handleUntil(c, e, at.Add(time.Duration(rnd.IntN(int(time.Minute)))), at)
			}
		case 2:
			tr.handleDue(at)
		case 3:
			for _, queue := range []*candidateQueue{tr.examineQ, tr.budgetQ} {
				_, list := queue.Pop(1 + rnd.IntN(20))
				for _, c := range list {
					tr.handle(c, eventTaken, at)
				}
			}
		case 4:
			tr.rejudge(ns, at)
		case 5:
			if rnd.IntN(20) == 0 {
				tr.forget(ns, at)
			}
		default:
			s := seenAt(cookie, time.Duration(rnd.IntN(int(time.Minute))), at)
			s.Socket.Info.BytesAcked += rnd.Uint64N(2)
			tr.seen(ns, s, at)
		}
		checkAgenda(t, &tr, namespaces, i)
	}
	for e, n := range tr.events {
		if n == 0 && event(e) != eventTaken {
			t.Errorf("there was no event %v", event(e))
		}
	}
}

func checkAgenda(t *testing.T, tr *tracker, namespaces []*registered, step int) {
	t.Helper()
	onAgenda := make(map[*candidate]bool)
	for c := range tr.agenda.While(func(*candidate) bool { return true }) {
		onAgenda[c] = true
	}
	scheduled := 0
	phases := make(map[phase]int)
	for _, ns := range namespaces {
		for cookie, c := range ns.candidates {
			if c.history.ID.Cookie() != cookie || c.ns != ns {
				t.Fatalf("step %d: candidate %d is kept as %d", step, c.history.ID.Cookie(), cookie)
			}
			phases[c.step.phase]++
			if c.index < 0 {
				if !c.step.dueAt.IsZero() {
					t.Fatalf("step %d: candidate %d is not on the agenda: %+v", step, cookie, c)
				}
				continue
			}
			scheduled++
			if !onAgenda[c] || c.step.dueAt.IsZero() {
				t.Fatalf("step %d: candidate %d is not on the agenda, or has no due time: %+v", step, cookie, c)
			}
			if c.step.dueAt.Before(tr.agenda.First().step.dueAt) {
				t.Fatalf("step %d: candidate %d is behind a later one", step, cookie)
			}
		}
	}
	if scheduled != tr.agenda.Len() {
		t.Fatalf("step %d: %d are on the agenda, %d of them known", step, tr.agenda.Len(), scheduled)
	}
	if phases[phaseQueued] != tr.examineQ.Len() || phases[phaseOverBudget] != tr.budgetQ.Len() {
		t.Fatalf("step %d: %v, but the queues have %d and %d", step, phases, tr.examineQ.Len(), tr.budgetQ.Len())
	}
	if phases[phaseDropped] != 0 {
		t.Fatalf("step %d: %d dropped candidates are known", step, phases[phaseDropped])
	}
}
