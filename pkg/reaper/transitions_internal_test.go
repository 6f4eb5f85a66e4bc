// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// transitionTable has every transition: for an event (row) in a phase (column), the next phase and the actions; a dot
// where nothing changes.
const transitionTable = `
                   timed           queued        examined            overtaken         over-budget   forbidden     refused       unowned        unasked        asking               withdrawn            dropped
renewed            .               .             overtaken           .                 .             timed         .             timed          timed          withdrawn,cancel     .                    .
spared             .               .             .                   .                 .             timed         .             timed          timed          withdrawn,cancel     .                    .
owners-needed      unowned,lookup  .             .                   .                 .             .             .             .              .              .                    .                    .
ask-due            asking,ask      .             .                   .                 .             asking,ask    .             asking,ask     .              .                    .                    .
ask-forbidden      forbidden,rec   .             .                   .                 .             .             .             forbidden,rec  forbidden,rec  withdrawn,cancel     .                    .
destroy-due        queued,queue    .             .                   .                 .             .             .             queued,queue   queued,queue   withdrawn,cancel     .                    .
time-came          queued,queue    .             .                   .                 .             queued,queue  queued,queue  queued,queue   queued,queue   withdrawn,cancel     .                    .
missed             queued,queue    .             .                   .                 .             queued,queue  .             queued,queue   queued,queue   .                    .                    .
taken              .               examined      .                   .                 examined      .             .             .              .              .                    .                    .
examined           .               .             timed               queued,queue      .             .             .             .              .              .                    .                    .
gone               .               .             dropped,drop        queued,queue      .             .             .             .              .              .                    .                    .
destroyed          .               .             dropped,rec,drop    queued,rec,queue  .             .             .             .              .              .                    .                    dropped,rec
destroy-forbidden  .               .             forbidden,rec       queued,rec,queue  .             .             .             .              .              .                    .                    .
over-budget        .               .             over-budget,budget  queued,queue      .             .             .             .              .              .                    .                    .
refused            .               .             refused             refused           .             .             .             .              .              .                    .                    .
owners-looked-up   .               .             .                   .                 .             .             .             timed          .              .                    .                    .
peer-alive         .               .             .                   .                 .             .             .             .              .              timed                timed                .
peer-gone          .               .             .                   .                 .             .             .             .              .              dropped,rec,drop     dropped,rec,drop     .
closed             .               .             .                   .                 .             .             .             .              .              dropped,rec,drop     dropped,rec,drop     .
not-asked          .               .             .                   .                 .             .             .             .              .              timed                timed                .
cancelled          .               .             .                   .                 .             .             .             .              .              unasked              timed                .
rejudged           .               .             overtaken           .                 .             timed         .             timed          timed          withdrawn,cancel     .                    .
forgotten          dropped,drop    dropped,drop  dropped,drop        dropped,drop      dropped,drop  dropped,drop  dropped,drop  dropped,drop   dropped,drop   dropped,cancel,drop  dropped,cancel,drop  .
`

// cell formats a transition as in the table.
func cell(from, to phase, act action) string {
	if from == to && act == 0 {
		return "."
	}
	words := []string{to.String()}
	for _, a := range []struct {
		bit  action
		word string
	}{
		{actCancel, "cancel"}, {actRecord, "rec"}, {actQueue, "queue"}, {actAwaitBudget, "budget"}, {actLookUp, "lookup"}, {actAsk, "ask"}, {actDrop, "drop"},
	} {
		if act&a.bit != 0 {
			words = append(words, a.word)
		}
	}
	return strings.Join(words, ",")
}

func TestTransitionsMatchTheTable(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(transitionTable), "\n")
	if len(lines) != int(numEvents)+1 {
		t.Fatalf("the table has %d events, want %d", len(lines)-1, numEvents)
	}
	for s, name := range strings.Fields(lines[0]) {
		if phase(s).String() != name {
			t.Errorf("column %d is %s, want %v", s, name, phase(s))
		}
	}
	for e := range numEvents {
		fields := strings.Fields(lines[1+int(e)])
		if len(fields) != int(numPhases)+1 || fields[0] != e.String() {
			t.Fatalf("the line of %v is %q", e, lines[1+int(e)])
		}
		for s := range numPhases {
			to, act := transition(s, e)
			if got := cell(s, to, act); got != fields[1+int(s)] {
				t.Errorf("%v after %v: %s, want %s", s, e, got, fields[1+int(s)])
			}
		}
	}
}

// TestTransitionsKeepTheirInvariants checks the invariants of the whole table.
func TestTransitionsKeepTheirInvariants(t *testing.T) {
	each := func(what string, holds func(from phase, e event, to phase, act action) bool) {
		t.Helper()
		for s := range numPhases {
			for e := range numEvents {
				if to, act := transition(s, e); !holds(s, e, to, act) {
					t.Errorf("%s, but %v after %v is %s", what, s, e, cell(s, to, act))
				}
			}
		}
	}
	each("it is put into a queue where it waits in that queue from then on", func(from phase, _ event, to phase, act action) bool {
		return (act&actQueue != 0) == (to == phaseQueued && from != phaseQueued) && (act&actAwaitBudget != 0) == (to == phaseOverBudget && from != phaseOverBudget)
	})
	each("a queue gives it to the examiner or is dropped with its network namespace", func(from phase, e event, to phase, _ action) bool {
		return from != phaseQueued && from != phaseOverBudget || to == from || e == eventTaken && to == phaseExamined || e == eventForgotten
	})
	each("only the examiner gives it back", func(from phase, e event, to phase, _ action) bool {
		examiner := e >= eventExamined && e <= eventRefused
		return from != phaseExamined && from != phaseOvertaken || to == from || to == phaseOvertaken || examiner || e == eventForgotten
	})
	out := func(s phase) bool { return s == phaseAsking || s == phaseWithdrawn }
	each("a question begins once, is cancelled, and only its answer ends it", func(from phase, e event, to phase, act action) bool {
		answered := e >= eventPeerAlive && e <= eventCancelled
		return (act&actAsk != 0) == (!out(from) && to == phaseAsking) && (!out(from) || out(to) || answered || e == eventForgotten) &&
			(act&actCancel != 0) == (from == phaseAsking && to == phaseWithdrawn || out(from) && e == eventForgotten)
	})
	each("what is dropped stays so, and is dropped once", func(from phase, _ event, to phase, act action) bool {
		return (act&actDrop != 0) == (from != phaseDropped && to == phaseDropped) && (from != phaseDropped || to == phaseDropped)
	})
	each("what was destroyed is recorded, whatever came between", func(from phase, e event, _ phase, act action) bool {
		return e != eventDestroyed || from != phaseExamined && from != phaseOvertaken && from != phaseDropped || act&actRecord != 0
	})
}

func TestStepHasADueTimeInTimedPhasesOnly(t *testing.T) {
	const soon, later, now = 100, 200, 50
	for name, tc := range map[string]struct {
		from        step
		e           event
		dueAt, want monotime.Time
	}{
		"a judgement says when":                        {step{soon, 1, phaseTimed}, eventSpared, later, later},
		"a judgement says never":                       {step{soon, 1, phaseTimed}, eventSpared, 0, 0},
		"a question does not put off the destroy":      {step{0, 1, phaseTimed}, eventAskDue, later, later},
		"an unknown owner does not put it off either":  {step{0, 1, phaseTimed}, eventOwnersNeeded, later, later},
		"nor does a forbidden question":                {step{0, 1, phaseTimed}, eventAskForbidden, later, later},
		"a destroy that is forbidden waits for change": {step{0, 1, phaseExamined}, eventDestroyForbidden, later, 0},
		"a look that changes nothing leaves it":        {step{soon, 1, phaseForbidden}, eventDestroyDue, later, soon},
		"what is queued has no time":                   {step{soon, 1, phaseTimed}, eventTimeCame, later, 0},
		"a judgement does not touch the queue":         {step{0, 1, phaseQueued}, eventSpared, later, 0},
		"what was refused is retried":                  {step{0, 1, phaseExamined}, eventRefused, later, monotime.Time(now).Add(retryAfter)},
		"a judgement does not hasten the retry":        {step{soon, 1, phaseRefused}, eventSpared, later, soon},
		"the prober's own cancellation is retried":     {step{later, 1, phaseAsking}, eventCancelled, 0, monotime.Time(now).Add(retryAfter)},
		"and does not put off the destroy":             {step{later, 1, phaseAsking}, eventCancelled, later, later},
		"a judgement does not put off that retry":      {step{soon, 1, phaseUnasked}, eventAskDue, later, soon},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := tc.from.next(tc.e, tc.dueAt, now)
			if got.dueAt != tc.want {
				t.Errorf("its time comes at %v, want %v", got.dueAt, tc.want)
			}
			want := tc.from.since
			if got.phase != tc.from.phase {
				want = now
			}
			if got.since != want {
				t.Errorf("it is %v since %v, want %v", got.phase, got.since, want)
			}
		})
	}
}
