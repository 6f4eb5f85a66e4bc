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

// dueAt lists the cookies of what is due.
func dueAt(t *tracker, at monotime.Time) []uint64 {
	var cookies []uint64
	for _, c := range t.due(at) {
		cookies = append(cookies, c.history.ID.Cookie())
	}
	slices.Sort(cookies)
	return cookies
}

func TestTrackerHasASocketLookedAtWhenItsGraceEnds(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, 5*time.Second, moment(0)), moment(0))
	if got := dueAt(&tr, moment(testGrace-5*time.Second-1)); got != nil {
		t.Errorf("due before its grace has ended: %v", got)
	}
	if next, ok := tr.next(); !ok || next != moment(testGrace-5*time.Second) {
		t.Errorf("next look at %v, %v", next, ok)
	}
	if got := dueAt(&tr, moment(testGrace-5*time.Second)); !slices.Equal(got, []uint64{7}) {
		t.Errorf("due at the end of its grace: %v", got)
	}
	if _, ok := tr.next(); ok {
		t.Error("what was due is due again")
	}
}

func TestTrackerHasAnOverdueSocketLookedAtAgain(t *testing.T) {
	t.Run("after a quarter of its grace, if it was seen once", func(t *testing.T) {
		var tr tracker
		ns := newRegistered(1)
		tr.seen(ns, seenAt(7, time.Hour, moment(0)), moment(0))
		if next, _ := tr.next(); next != moment(testGrace/4) || ns.candidates[7].reason != policy.SeenOnce {
			t.Errorf("next look at %v for being %v", next.Sub(moment(0)), ns.candidates[7].reason)
		}
	})
	t.Run("at once, if its entry was seen", func(t *testing.T) {
		var tr tracker
		ns := newRegistered(1)
		seen := seenAt(7, time.Hour, moment(0))
		seen.Entered = moment(-time.Hour)
		tr.seen(ns, seen, moment(3))
		if next, _ := tr.next(); next != moment(3) {
			t.Errorf("next look at %v", next.Sub(moment(0)))
		}
	})
	t.Run("no more once it was dealt with", func(t *testing.T) {
		var tr tracker
		ns := newRegistered(1)
		seen := seenAt(7, time.Hour, moment(0))
		seen.Entered = moment(-time.Hour)
		tr.seen(ns, seen, moment(0))
		tr.due(moment(0))
		c := ns.candidates[7]
		c.noted = true
		tr.seen(ns, seenAt(7, time.Hour+time.Second, moment(time.Second)), moment(time.Second))
		if next, ok := tr.next(); ok {
			t.Errorf("next look at %v", next.Sub(moment(0)))
		}
	})
}

func TestTrackerTakesTheLaterLook(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, time.Second, moment(time.Second)), moment(time.Second))
	late := seenAt(7, 0, moment(0))
	late.Socket.Info.BytesReceived += 10
	tr.seen(ns, late, moment(2*time.Second))
	if c := ns.candidates[7]; !c.history.Progress.IsZero() || c.history.Last != moment(time.Second) {
		t.Errorf("a look from before changed the history: %+v", c.history)
	}
}

func TestTrackerProgressPostponesAndUndoesWhatWasDealtWith(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, 0, moment(0)), moment(0))
	ns.candidates[7].noted = true
	moved := seenAt(7, 0, moment(10*time.Second))
	moved.Socket.Info.BytesAcked += 10
	moved.Socket.Info.SegsIn++
	tr.seen(ns, moved, moment(10*time.Second))
	if next, _ := tr.next(); next != moment(10*time.Second+testGrace) {
		t.Errorf("next look at %v", next.Sub(moment(0)))
	}
	if ns.candidates[7].noted {
		t.Error("it counts as dealt with")
	}
}

func TestTrackerMissed(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	for cookie := range uint64(4) {
		tr.seen(ns, seenAt(cookie, 0, moment(0)), moment(0))
	}
	swept := moment(time.Second)
	tr.seen(ns, seenAt(1, 0, swept.Add(time.Millisecond)), swept.Add(time.Millisecond)) // the sweep showed it
	ns.candidates[2].queued = true                                                      // its turn comes anyway
	var got []uint64
	for _, c := range tr.missed(ns, swept) {
		got = append(got, c.history.ID.Cookie())
	}
	if slices.Sort(got); !slices.Equal(got, []uint64{0, 3}) {
		t.Errorf("missed %v, want 0 and 3", got)
	}
}

func TestTrackerRejudgesAfterAChange(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	tr.seen(ns, seenAt(7, 0, moment(0)), moment(0))
	tr.seen(ns, seenAt(7, 10*time.Second, moment(10*time.Second)), moment(10*time.Second))
	judge := func(change func(*policy.Policy)) (monotime.Time, policy.Reason) {
		p := *ns.policy
		change(&p)
		ns.policy = &p
		ns.candidates[7].noted = true
		tr.rejudge(ns, moment(11*time.Second))
		next, _ := tr.next()
		if ns.candidates[7].noted {
			t.Error("it still counts as dealt with")
		}
		return next, ns.candidates[7].reason
	}
	if next, reason := judge(func(p *policy.Policy) { p.CloseWaitGrace = policy.Grace(5 * time.Second) }); next != moment(11*time.Second) || reason != policy.Destroyable {
		t.Errorf("with a shorter grace: next look at %v, %v", next.Sub(moment(0)), reason)
	}
	if next, reason := judge(func(p *policy.Policy) { p.CloseWaitGrace = policy.Grace(time.Minute) }); next != moment(time.Minute) || reason != policy.Young {
		t.Errorf("with a longer grace: next look at %v, %v", next.Sub(moment(0)), reason)
	}
	if _, reason := judge(func(p *policy.Policy) { p.Mode = policy.Off }); reason != policy.ModeOff || len(tr.agenda) != 0 {
		t.Errorf("with mode off: %v, %d on the agenda", reason, len(tr.agenda))
	}
}

func TestTrackerRestores(t *testing.T) {
	var tr tracker
	ns := newRegistered(1)
	saved := policy.Follow(nil, policy.Look{At: moment(0), Socket: &seenAt(7, time.Minute, 0).Socket})
	tr.restore(ns, saved, moment(time.Second))
	c := ns.candidates[7]
	if c == nil || c.history != saved || c.reason != policy.Unknown {
		t.Fatalf("restored as %+v", c)
	}
	if got := dueAt(&tr, moment(time.Second)); !slices.Equal(got, []uint64{7}) {
		t.Errorf("due at once: %v", got)
	}
	other := saved
	other.Since = moment(-time.Hour)
	tr.restore(ns, other, moment(time.Second))
	if ns.candidates[7] != c || c.history != saved {
		t.Error("what is known already was replaced")
	}
}

func TestTrackerTellsWhetherThereIsSomethingToSave(t *testing.T) {
	var tr tracker
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
	step("the end", true, func() { tr.drop(ns.candidates[7]) })
}

// TestTrackerAgendaStaysInOrder does at random all that is done to a tracker, and checks that each candidate
// is on the agenda where it says and that the earliest is first.
func TestTrackerAgendaStaysInOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var tr tracker
	namespaces := []*registered{newRegistered(1), newRegistered(2)}
	at := moment(0)
	for i := range 20_000 {
		at = at.Add(time.Duration(rnd.IntN(int(time.Second))))
		ns := namespaces[rnd.IntN(2)]
		switch cookie := rnd.Uint64N(40); rnd.IntN(10) {
		case 0:
			if c := ns.candidates[cookie]; c != nil {
				tr.drop(c)
			}
		case 1:
			for _, c := range tr.due(at) {
				c.queued = true
				tr.schedule(c)
			}
		case 2:
			for _, c := range ns.candidates {
				c.queued = false
				tr.schedule(c)
			}
		case 3:
			tr.rejudge(ns, at)
		case 4:
			if rnd.IntN(20) == 0 {
				tr.dropAll(ns)
			}
		default:
			s := seenAt(cookie, time.Duration(rnd.IntN(int(time.Minute))), at)
			s.Socket.Info.BytesAcked += rnd.Uint64N(2)
			tr.seen(ns, s, at)
		}
		checkAgenda(t, &tr, namespaces, i)
	}
}

func checkAgenda(t *testing.T, tr *tracker, namespaces []*registered, step int) {
	t.Helper()
	scheduled := 0
	for _, ns := range namespaces {
		for cookie, c := range ns.candidates {
			if c.history.ID.Cookie() != cookie || c.ns != ns {
				t.Fatalf("step %d: candidate %d is kept as %d", step, c.history.ID.Cookie(), cookie)
			}
			if c.index < 0 {
				continue
			}
			scheduled++
			if tr.agenda[c.index] != c || c.queued || c.again.IsZero() {
				t.Fatalf("step %d: candidate %d is in the wrong place: %+v", step, cookie, c)
			}
			if parent := tr.agenda[(c.index-1)/2]; c.index > 0 && c.again.Before(parent.again) {
				t.Fatalf("step %d: candidate %d is behind a later one", step, cookie)
			}
		}
	}
	if scheduled != len(tr.agenda) {
		t.Fatalf("step %d: %d are on the agenda, %d of them known", step, len(tr.agenda), scheduled)
	}
}
