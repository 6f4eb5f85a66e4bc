// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"container/heap"
	"iter"

	"github.com/halfclose/halfclose/internal/rotation"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// candidateQueue has candidates of all network namespaces, which have their turns.
type candidateQueue = rotation.Queue[*registered, *candidate]

func newCandidateQueue() *candidateQueue { return rotation.New[*registered, *candidate]() }

// tracker has the candidates of all network namespaces, each in its phase. It does no I/O and reads no clock.
type tracker struct {
	agenda   agenda
	fresh    *candidateQueue // candidates in phaseQueued
	held     *candidateQueue // candidates in phaseHeld
	unowned  *candidateQueue // candidates in phaseUnowned, and some that were
	ends     ends
	toChoose map[*registered]struct{} // in which rules with a number may let others go than before
	changed  bool                     // since the candidates were last saved
	events   [numEvents]uint64

	findsOwners bool         // else judgements do without
	canAsk      bool         // peers can be asked
	toAsk       []*candidate // in phaseAsking, whose question must be sent
	toCancel    []*candidate // that were in it, whose question must be cancelled
	wouldAsk    uint64       // questions that the mode forbade, one for each idle time

	spared     map[policy.Reason]uint64 // how often a candidate came to be spared for a reason
	histograms *histograms
}

func newTracker() tracker {
	return tracker{
		histograms: newHistograms(),
		fresh:      newCandidateQueue(), held: newCandidateQueue(), unowned: newCandidateQueue(), ends: newEnds(), toChoose: make(map[*registered]struct{}), spared: make(map[policy.Reason]uint64),
	}
}

// handle moves a candidate to its next phase, and returns what is left to do: the queues are served.
func (t *tracker) handle(c *candidate, e event, now monotime.Time) action {
	return t.handleUntil(c, e, 0, now)
}

// handleUntil is handle for a judgement that wants the candidate to be looked at again at a time.
func (t *tracker) handleUntil(c *candidate, e event, dueAt, now monotime.Time) action {
	t.events[e]++
	was := c.step
	next, act := was.next(e, dueAt, now)
	c.step = next
	switch {
	case next.phase == was.phase:
	case was.phase == phaseHeld:
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
		t.fresh.Push(c.ns, c)
	case act&actHold != 0:
		t.held.Push(c.ns, c)
	case act&actLookUp != 0:
		t.unowned.Push(c.ns, c)
	case act&actAsk != 0:
		t.toAsk = append(t.toAsk, c)
	case act&actDrop != 0:
		t.histograms.observeEnd(c, e, now)
		delete(c.ns.candidates, c.history.ID.Cookie())
		t.ends.remove(c)
		t.uncount(c)
		t.changed = true
		t.reconsiderOthersOf(c, now)
	}
	return act
}

// seen handles a finder's look at one socket.
func (t *tracker) seen(ns *registered, seen *finder.Seen, now monotime.Time) {
	s := &seen.Socket
	c := ns.candidates[s.ID.Cookie()]
	var prev *policy.History
	if c != nil {
		if cmp.Or(seen.Asked, seen.At).Before(c.history.Last) {
			return // the examiner has looked since
		}
		prev = &c.history
	} else {
		c = &candidate{ns: ns, index: -1}
		ns.candidates[s.ID.Cookie()] = c
	}
	h := policy.Follow(prev, policy.Look{At: seen.At, Asked: seen.Asked, Socket: s, Entered: seen.Entered, Role: seen.Role})
	facts := policy.Facts{OwnersKnown: !t.findsOwners, OwnersComplete: !t.findsOwners}
	if s.Inode == c.shown.inode {
		facts = t.facts(c, now)
	}
	own := ns.judge(&h, s, facts, now)
	v, was := t.conclude(c, &h, own, now), c.verdict.standing
	if t.take(c, h, s, v, own.Deadline, now) {
		t.handle(c, eventRenewed, now)
	}
	t.count(c, &v)
	t.judged(c, v, now)
	t.reconsiderOther(c, was, true, now)
}

// facts returns what is known of a candidate beside its looks.
func (t *tracker) facts(c *candidate, now monotime.Time) policy.Facts {
	f := c.facts(now)
	f.OwnersKnown, f.OwnersComplete = f.OwnersKnown || !t.findsOwners, f.OwnersComplete || !t.findsOwners
	return f
}

// judge judges a candidate as it was at its last look, at a later moment.
func (t *tracker) judge(c *candidate, now monotime.Time) policy.Verdict {
	return t.conclude(c, &c.history, t.judgeAlone(c, now), now)
}

// conclude returns a candidate's own verdict with the say of all other sockets: the other end of its connection, and the others
// that a rule counts with it.
func (t *tracker) conclude(c *candidate, h *policy.History, own policy.Verdict, now monotime.Time) policy.Verdict {
	return limited(t.withOther(c, h, own, now), c.isAllowed(), c.owners != nil, now)
}

// judgeAlone is judge without the say of other sockets.
func (t *tracker) judgeAlone(c *candidate, now monotime.Time) policy.Verdict {
	s := c.socket()
	return c.ns.judge(&c.history, &s, t.facts(c, now), now)
}

// reconsider judges a candidate again after something else than a look has changed.
func (t *tracker) reconsider(c *candidate, now monotime.Time) {
	s, own, was := c.socket(), t.judgeAlone(c, now), c.verdict.standing
	v := t.conclude(c, &c.history, own, now)
	t.take(c, c.history, &s, v, own.Deadline, now)
	t.count(c, &v)
	t.judged(c, v, now)
	t.reconsiderOther(c, was, false, now)
}

// take takes over a look and the verdict on it, as candidate.take does.
func (t *tracker) take(c *candidate, h policy.History, s *inetdiag.Socket, v policy.Verdict, deadline, now monotime.Time) (renewed bool) {
	c.excuseSparing(&v, now)
	if h.Since != c.history.Since || h.Progress != c.history.Progress || h.Owned != c.history.Owned || h.Role != c.history.Role {
		t.changed = true
	}
	waits := v.Other == policy.StandingUnknown // for a look at the other end, which spares nothing yet
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

// judged handles the verdict on the last look.
func (t *tracker) judged(c *candidate, v policy.Verdict, now monotime.Time) {
	e := t.judgement(&v)
	if v.Reason == policy.OwnerFrozen && !t.facts(c, now).OwnersKnown {
		e = eventOwnersNeeded // they may have been thawed
	}
	again := v.Again
	if v.Reason == policy.OwnerUnknown && c.owners != nil && now.Before(c.owners.until) && (again.IsZero() || c.owners.until.Before(again)) {
		again = c.owners.until // another look may find them
	}
	act := t.handleUntil(c, e, again, now)
	if act&actRecord != 0 && c.verdict.recorded&recordedQuestion == 0 {
		c.verdict.recorded |= recordedQuestion
		t.wouldAsk++
	}
	if v.Other == policy.StandingUnknown {
		t.queueOther(c, now)
	}
}

// judgement returns the event that a verdict is.
func (t *tracker) judgement(v *policy.Verdict) event {
	switch {
	case v.NeedsOwners:
		return eventOwnersNeeded
	case v.Reason == policy.Destroyable, v.Reason == policy.WouldDestroy:
		return eventDestroyDue
	case v.Reason == policy.WouldAsk:
		return eventAskForbidden
	case v.Reason == policy.AskingPeer && t.canAsk:
		return eventAskDue
	}
	return eventSpared
}

// rejudge handles a change of a network namespace's policy, or of the mode.
func (t *tracker) rejudge(ns *registered, now monotime.Time) {
	t.chooseAgain(ns)
	for _, c := range ns.candidates {
		t.handle(c, eventRejudged, now)
		if !c.isConfirmed() {
			continue // it is queued for its first look, or nothing is known of it
		}
		t.reconsider(c, now)
		c.excuse(0, now, excusePolicy)
	}
}

// restore takes over a history that an earlier process saved: a look has to confirm it at once.
func (t *tracker) restore(ns *registered, h policy.History, now monotime.Time) {
	cookie := h.ID.Cookie()
	if ns.candidates[cookie] != nil {
		return
	}
	c := &candidate{ns: ns, index: -1, history: h, excused: now, verdict: verdict{reason: policy.Unknown, excuses: excuseRegistered}}
	ns.candidates[cookie] = c
	t.ends.add(c)
	t.handle(c, eventTimeCame, now)
}

// forget drops all candidates of a network namespace.
func (t *tracker) forget(ns *registered, now monotime.Time) {
	for _, c := range ns.candidates {
		t.handle(c, eventForgotten, now)
	}
	delete(t.toChoose, ns)
	// Last: the end of one candidate may have had another one of them queued.
	t.fresh.Drop(ns)
	t.held.Drop(ns)
	t.unowned.Drop(ns)
}

// missed handles the candidates that a sweep of their network namespace did not show. They may be gone, or the
// dump, which is no snapshot, has missed them.
func (t *tracker) missed(ns *registered, swept, now monotime.Time) {
	for _, c := range ns.candidates {
		if c.history.Last.Before(swept) {
			t.handle(c, eventMissed, now)
		}
	}
}

// due handles the candidates whose time has come.
func (t *tracker) due(now monotime.Time) {
	for len(t.agenda) > 0 && !now.Before(t.agenda[0].step.dueAt) {
		t.handle(t.agenda[0], eventTimeCame, now) // which takes it off the agenda
	}
}

// schedule puts a candidate on the agenda, or takes it off, as its step says.
func (t *tracker) schedule(c *candidate) {
	switch {
	case c.step.dueAt.IsZero():
		if c.index >= 0 {
			heap.Remove(&t.agenda, int(c.index))
		}
	case c.index >= 0:
		heap.Fix(&t.agenda, int(c.index))
	default:
		heap.Push(&t.agenda, c)
	}
}

// next returns when the next candidate's time comes.
func (t *tracker) next() (monotime.Time, bool) {
	if len(t.agenda) == 0 {
		return 0, false
	}
	return t.agenda[0].step.dueAt, true
}

// upcoming yields the candidates whose time comes by then, the earlier ones mostly first. It visits no others.
// Nothing may be scheduled meanwhile.
func (t *tracker) upcoming(until monotime.Time) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
			i := queue[0]
			if i >= len(t.agenda) || until.Before(t.agenda[i].step.dueAt) {
				continue // nor are those below it any sooner
			}
			if !yield(t.agenda[i]) {
				return
			}
			queue = append(queue, 2*i+1, 2*i+2)
		}
	}
}

// agenda is a heap of candidates by the time of their next look.
type agenda []*candidate

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].step.dueAt < a[j].step.dueAt }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = int32(i), int32(j)
}

func (a *agenda) Push(x any) {
	c := x.(*candidate)
	c.index = int32(len(*a))
	*a = append(*a, c)
}

func (a *agenda) Pop() any {
	old := *a
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	c.index = -1
	return c
}
