// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"iter"

	"github.com/halfclose/halfclose/internal/heap"
	"github.com/halfclose/halfclose/internal/rotation"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// candidateQueue serves the candidates of all network namespaces in rotation.
type candidateQueue = rotation.Queue[*registered, *candidate]

func newCandidateQueue() *candidateQueue { return rotation.New[*registered, *candidate]() }

// tracker has the candidates of all network namespaces, each in its phase. It does no I/O and reads no clock.
type tracker struct {
	agenda   *heap.Heap[*candidate] // by step.dueAt
	examineQ *candidateQueue        // candidates in phaseQueued
	budgetQ  *candidateQueue        // candidates in phaseOverBudget
	ownersQ  *candidateQueue        // candidates in phaseUnowned, and some that have left it
	// progressQ has candidates whose next look can only notice progress, and some of which that was true: see progressLook.
	progressQ *candidateQueue
	// inProgressQ has the candidates of progressQ, with the reason for the look: a field of the candidate would make each of them 32 bytes larger.
	inProgressQ map[*candidate]progressLook
	ends        ends
	toSelect    map[*registered]struct{} // where the selection of above rules may have changed
	changed     bool                     // since the candidates were last saved
	events      [numEvents]uint64

	findsOwners     bool         // otherwise owners count as known, and there are none
	readsConditions bool         // the conditions of owners are read
	canAsk          bool         // peers can be asked
	toAsk           []*candidate // entered phaseAsking: send the question
	toCancel        []*candidate // left it: cancel the question
	wouldAsk        uint64       // questions that the mode forbade, at most one per idle time

	ended     simulate.Table // the idle times of candidates that have ended
	netnsGone bool           // they end because their network namespace does not exist

	earlier    map[*candidate]*aged     // as they were restored: those of which something had been recorded
	spared     map[policy.Reason]uint64 // how often a candidate's reason became this one
	histograms *histograms
}

func newTracker() tracker {
	return tracker{
		agenda: heap.New(
			func(a, b *candidate) bool { return a.step.dueAt < b.step.dueAt },
			func(c *candidate, i int) { c.index = int32(i) }),
		histograms: newHistograms(),
		examineQ:   newCandidateQueue(), budgetQ: newCandidateQueue(), ownersQ: newCandidateQueue(), progressQ: newCandidateQueue(), inProgressQ: make(map[*candidate]progressLook),
		ends: newEnds(), toSelect: make(map[*registered]struct{}), spared: make(map[policy.Reason]uint64), earlier: make(map[*candidate]*aged),
		ended: make(simulate.Table),
	}
}

// handle moves a candidate to its next phase and into the queue of that phase. It returns the actions of the transition;
// actRecord is left to the caller.
func (t *tracker) handle(c *candidate, e event, now monotime.Time) action {
	return t.handleUntil(c, e, 0, now)
}

// handleUntil is handle for a judgement that requires the next look at dueAt.
func (t *tracker) handleUntil(c *candidate, e event, dueAt, now monotime.Time) action {
	t.events[e]++
	was := c.step
	next, act := was.next(e, dueAt, now)
	c.step = next
	switch {
	case next.phase == was.phase:
	case was.phase == phaseOverBudget:
		c.excuse(was.since, now, excuseBudget)
	case was.phase == phaseUnowned:
		c.excuse(was.since, now, excuseOwners)
	}
	t.schedule(c)
	if act&actCancel != 0 {
		t.toCancel = append(t.toCancel, c)
	}
	switch {
	case act&actQueue != 0:
		t.examineQ.Push(c.ns, c)
	case act&actAwaitBudget != 0:
		t.budgetQ.Push(c.ns, c)
	case act&actLookUp != 0:
		t.ownersQ.Push(c.ns, c)
	case act&actAsk != 0:
		t.toAsk = append(t.toAsk, c)
	case act&actDrop != 0:
		t.histograms.observeEnd(c, e, now)
		t.countEnd(c, e, now)
		delete(c.ns.candidates, c.history.ID.Cookie())
		delete(t.earlier, c)
		delete(t.inProgressQ, c)
		t.ends.remove(c)
		t.uncountSurplus(c)
		t.changed = true
		t.reconsiderOthersOf(c, now)
	}
	return act
}

// seen handles a socket that the finder has reported.
func (t *tracker) seen(ns *registered, seen *finder.Seen, now monotime.Time) {
	s := &seen.Socket
	c := ns.candidates[s.ID.Cookie()]
	var prev *policy.History
	if c != nil {
		if cmp.Or(seen.Asked, seen.At).Before(c.history.Last) {
			return // the examiner's look is newer
		}
		prev = &c.history
	} else {
		c = &candidate{ns: ns, index: -1}
		ns.candidates[s.ID.Cookie()] = c
	}
	h := policy.Follow(prev, policy.Look{At: seen.At, Asked: seen.Asked, Socket: s, Entered: seen.Entered, Role: seen.Role})
	facts := policy.Facts{OwnersKnown: !t.findsOwners, OwnersComplete: !t.findsOwners}
	if s.Inode == c.shown.inode && h.ID == c.history.ID {
		facts = t.facts(c, now)
	}
	own := ns.judge(&h, s, facts, now)
	v, was := t.withOthers(c, &h, own, now), c.verdict.standing
	if t.take(c, h, s, v, own.Deadline, now) {
		t.handle(c, eventRenewed, now)
	}
	t.countSurplus(c, &v)
	t.handleVerdict(c, v, now)
	t.reconsiderOther(c, was, true, now)
}

// facts returns the facts about a candidate that no look shows.
func (t *tracker) facts(c *candidate, now monotime.Time) policy.Facts {
	f := c.facts(now)
	f.OwnersKnown, f.OwnersComplete = t.knowsOwners(c, now) || !t.findsOwners, f.OwnersComplete || !t.findsOwners
	return f
}

// judge returns the verdict at a moment on a candidate's last look.
func (t *tracker) judge(c *candidate, now monotime.Time) policy.Verdict {
	return t.withOthers(c, &c.history, t.judgeAlone(c, now), now)
}

// withOthers returns a candidate's verdict with the influence of other sockets: the other end of its connection, and the
// sockets that an above rule counts with it.
func (t *tracker) withOthers(c *candidate, h *policy.History, own policy.Verdict, now monotime.Time) policy.Verdict {
	return withThreshold(t.withOther(c, h, own, now), c.isAllowed(), c.owners != nil, now)
}

// judgeAlone is judge without the influence of other sockets.
func (t *tracker) judgeAlone(c *candidate, now monotime.Time) policy.Verdict {
	s := c.socket()
	return c.ns.judge(&c.history, &s, t.facts(c, now), now)
}

// reconsider judges a candidate again without a new look, after a change of its policy, its owners or other sockets.
func (t *tracker) reconsider(c *candidate, now monotime.Time) {
	s, own, was := c.socket(), t.judgeAlone(c, now), c.verdict.standing
	v := t.withOthers(c, &c.history, own, now)
	t.take(c, c.history, &s, v, own.Deadline, now)
	t.countSurplus(c, &v)
	t.handleVerdict(c, v, now)
	t.reconsiderOther(c, was, false, now)
}

// take calls candidate.take, and updates the index of ends and the counts.
func (t *tracker) take(c *candidate, h policy.History, s *inetdiag.Socket, v policy.Verdict, deadline, now monotime.Time) (renewed bool) {
	c.excuseSparing(&v, now)
	t.followIdle(c, &h, s, &v)
	if h.Since != c.history.Since || h.Progress != c.history.Progress || h.Owned != c.history.Owned || h.Role != c.history.Role {
		t.changed = true
	}
	waits := v.Other == policy.StandingUnknown // for a look at the other end: its reason is not known yet
	if v.Reason != c.verdict.reason && v.Reason != policy.Destroyable && !waits {
		t.spared[v.Reason]++
	}
	if c.history.Owned && !h.Owned {
		t.histograms.observeEnd(c, eventClosed, now)
	}
	if h.ID == c.history.ID {
		return c.take(h, s, v, deadline)
	}
	if !c.history.Last.IsZero() {
		t.ends.remove(c)
	}
	renewed = c.take(h, s, v, deadline)
	t.ends.add(c)
	return renewed
}

// handleVerdict handles the event of a verdict on the last look.
func (t *tracker) handleVerdict(c *candidate, v policy.Verdict, now monotime.Time) {
	e, dueAt := t.verdictEvent(&v), v.Again
	if v.Reason == policy.OwnerFrozen { // no look at the socket shows whether they have been thawed
		isTimed := c.step.phase == phaseTimed || c.step.phase == phaseUnowned // no other phase leads to a look-up
		switch isKnown := t.facts(c, now).OwnersKnown; {
		case !isKnown && isTimed:
			e, dueAt = eventOwnersNeeded, 0
		case !isKnown:
			e = eventOwnersNeeded
		case isTimed && c.owners.isKnown(now):
			dueAt = c.owners.until
		}
	}
	if v.Reason == policy.OwnerUnknown && c.owners != nil && now.Before(c.owners.until) && (dueAt.IsZero() || c.owners.until.Before(dueAt)) {
		dueAt = c.owners.until // the next look-up may find them
	}
	if next := c.step.dueAt; v.Reason == policy.PeerSpared && !next.IsZero() && !dueAt.IsZero() {
		dueAt = min(dueAt, next) // this look does not show the other end
	}
	act := t.handleUntil(c, e, dueAt, now)
	if act&actRecord != 0 && t.record(c, recordedQuestion, &c.history) {
		t.wouldAsk++
	}
	if v.Other == policy.StandingUnknown {
		t.queueOther(c, now)
	}
}

// verdictEvent returns the event of a verdict.
func (t *tracker) verdictEvent(v *policy.Verdict) event {
	switch {
	case v.NeedsOwners:
		return eventOwnersNeeded
	case v.Reason == policy.Destroyable, v.Reason == policy.WouldDestroy:
		return eventDestroyDue
	case v.Reason == policy.WouldAsk && t.canAsk:
		return eventAskForbidden
	case v.Reason == policy.AskingPeer && t.canAsk:
		return eventAskDue
	}
	return eventSpared
}

// rejudge judges the candidates of a network namespace again after a change of its policies or its mode.
func (t *tracker) rejudge(ns *registered, now monotime.Time) {
	t.resetSurplus(ns)
	for _, c := range ns.candidates {
		t.handle(c, eventRejudged, now)
		if !c.isConfirmed() {
			continue // its first look follows
		}
		t.reconsider(c, now)
		c.excuse(0, now, excusePolicy)
	}
}

// restore adds a candidate with a saved history. The examiner looks at it at once to confirm the history.
func (t *tracker) restore(ns *registered, s aged, now monotime.Time) {
	h := s.history
	cookie := h.ID.Cookie()
	if ns.candidates[cookie] != nil {
		return
	}
	s.idle.Resume()
	c := &candidate{ns: ns, index: -1, history: h, idle: s.idle, excused: now, verdict: verdict{reason: policy.Unknown, excuses: excuseRegistered}}
	if s.recorded != 0 {
		t.earlier[c] = &s
	}
	ns.candidates[cookie] = c
	t.ends.add(c)
	t.handle(c, eventTimeCame, now)
}

// forget drops all candidates of a network namespace.
func (t *tracker) forget(ns *registered, now monotime.Time) {
	for _, c := range ns.candidates {
		t.handle(c, eventForgotten, now)
	}
	delete(t.toSelect, ns)
	// After the candidates: dropping one may queue the other end of its connection.
	t.examineQ.Drop(ns)
	t.budgetQ.Drop(ns)
	t.ownersQ.Drop(ns)
	t.progressQ.Drop(ns)
}

// queueNotShown handles the candidates that a sweep of their network namespace did not show. They may be closed, or the
// dump, which is not a snapshot, has missed them.
func (t *tracker) queueNotShown(ns *registered, swept, now monotime.Time) {
	for _, c := range ns.candidates {
		if c.history.Last.Before(swept) {
			t.handle(c, eventNotShown, now)
		}
	}
}

// handleDue handles the candidates whose time has come.
func (t *tracker) handleDue(now monotime.Time) {
	frozen := 0
	for t.agenda.Len() > 0 && !now.Before(t.agenda.First().step.dueAt) {
		c := t.agenda.First()
		if due, ok := t.awaitsProgress(c, now); ok {
			t.queueForProgress(c, due)
			continue
		}
		switch {
		case c.isSparedByOtherEnd():
			t.queueSparing(c, now)
			continue
		case c.step.phase == phaseTimed && c.verdict.reason == policy.OwnerFrozen && !c.owners.isKnown(now):
			t.reconsider(c, now) // its owners are looked up
			if frozen++; frozen >= maxFinishSteps {
				return // the others stay due
			}
			continue
		}
		t.handle(c, eventTimeCame, now) // removes it from the agenda
	}
}

// schedule adds a candidate to the agenda, moves it or removes it, according to step.dueAt.
func (t *tracker) schedule(c *candidate) {
	switch {
	case c.step.dueAt.IsZero():
		if c.index >= 0 {
			t.agenda.Remove(int(c.index))
		}
	case c.index >= 0:
		t.agenda.Fix(int(c.index))
	default:
		t.agenda.Push(c)
	}
}

// nextDue returns when the next candidate is due.
func (t *tracker) nextDue() (monotime.Time, bool) {
	if t.agenda.Len() == 0 {
		return 0, false
	}
	return t.agenda.First().step.dueAt, true
}

// upcoming yields the candidates that are due by a time, roughly in order. It visits no others. The agenda must not change
// while it runs.
func (t *tracker) upcoming(until monotime.Time) iter.Seq[*candidate] {
	return t.agenda.While(func(c *candidate) bool { return !until.Before(c.step.dueAt) })
}
