// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"hash/maphash"
	"iter"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// ends is an index of the candidates of all network namespaces by their addresses. It finds the other end of a
// connection. It is keyed by hashes: a policy.EndKey has 72 bytes, and there may be 500,000 candidates.
type ends struct {
	seed  maphash.Seed
	first map[uint64]*candidate // by hash; candidate.nextEnd links the others of the same bucket
}

func newEnds() ends {
	return ends{seed: maphash.MakeSeed(), first: make(map[uint64]*candidate)}
}

// add adds a candidate under its current addresses.
func (e *ends) add(c *candidate) {
	end := c.end()
	h := maphash.Comparable(e.seed, end.Key())
	c.nextEnd = e.first[h]
	e.first[h] = c
}

// remove removes a candidate. Its addresses must be those of the call of add.
func (e *ends) remove(c *candidate) {
	end := c.end()
	h := maphash.Comparable(e.seed, end.Key())
	first := e.first[h]
	switch {
	case first == c && c.nextEnd == nil:
		delete(e.first, h)
	case first == c:
		e.first[h] = c.nextEnd
	default:
		for o := first; o != nil; o = o.nextEnd {
			if o.nextEnd == c {
				o.nextEnd = c.nextEnd
				break
			}
		}
	}
	c.nextEnd = nil
}

// opposite yields the candidates whose addresses are those of an end with local and peer exchanged.
func (e *ends) opposite(end *policy.End) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		key := end.OtherKey()
		for o := e.first[maphash.Comparable(e.seed, key)]; o != nil; o = o.nextEnd {
			if other := o.end(); other.Key() == key && !yield(o) {
				return
			}
		}
	}
}

// end returns a candidate as an end of its connection.
func (c *candidate) end() policy.End { return endOf(c.ns, &c.history) }

func endOf(ns *registered, h *policy.History) policy.End {
	id := &ns.Identity
	return policy.End{Netns: cmp.Or(id.Cookie, id.Inode), ID: h.ID, State: h.State, Counters: h.Counters}
}

// dueSince returns since when the verdict has required a question or a destroy, zero if it requires neither.
func dueSince(v *policy.Verdict, now monotime.Time) (since monotime.Time) {
	if v.Act == policy.Off {
		return 0
	}
	for _, at := range []monotime.Time{v.AskAt, v.EndAt, v.Deadline} {
		if !now.Before(at) {
			since = max(since, at)
		}
	}
	return since
}

// isFreshFor reports whether the candidate's last look is recent enough to act on its other end, which has the history h
// and has been due since a time.
//
// Any look after that time is. The other end has not moved a byte for a whole patience before it, as the examiner's look
// confirms at the destroy, so this end has not moved one either. Its state can only have changed in a way that makes it
// spare less: unread bytes were read, or a queued connection was accepted. Only its policy and its owners can make it
// spare more: after a change of policy it is judged again at once, and the owners of both ends are looked up together.
//
// A question is sent after a look, and a byte that moves cancels it: there is no need to cancel it for a later look.
func (c *candidate) isFreshFor(h *policy.History, since monotime.Time) bool {
	if !c.isConfirmed() {
		return false
	}
	if c.step.phase == phaseAsking {
		since = max(h.Start, h.Progress)
	}
	return !c.history.Last.Before(since)
}

// otherEnd reports whether and why the other end of its connection spares a candidate, which has been due since the
// given time. Exactly one other candidate must match as that end. StandingUnknown means that the other end needs a look
// first: until then the candidate is spared.
//
// needsOwners reports that the owners of the other end must be looked up first: they may be frozen.
func (t *tracker) otherEnd(c *candidate, h *policy.History, own *policy.Verdict, since, now monotime.Time) (spares policy.Standing, needsOwners bool) {
	end := endOf(c.ns, h)
	var other *candidate
	for o := range t.ends.opposite(&end) {
		if o == c {
			continue
		}
		if !o.isFreshFor(h, since) {
			return policy.StandingUnknown, false
		}
		if oe := o.end(); policy.AreTwoEnds(&end, &oe) {
			if other != nil {
				return policy.StandingNone, false // ambiguous
			}
			other = o
		}
	}
	if other == nil {
		return policy.StandingNone, false
	}
	facts, s := t.facts(other, now), other.socket()
	v := other.ns.judge(&other.history, &s, facts, now)
	if v.Standing == policy.StandingMode && v.Act == policy.Observe && own.Act == policy.Observe {
		v.Standing = policy.StandingNone // both are observed: the history reports a would-destroy
	}
	if !facts.OwnersKnown && s.Inode != 0 {
		may := v.ActWhy.May || v.EndWhy.May
		needsOwners = v.Standing == policy.StandingNone || may && other.owners == nil
	}
	return v.Standing, needsOwners
}

// withOther returns a candidate's verdict with the influence of the other end of its connection. Until a question or a
// destroy is due there is none.
func (t *tracker) withOther(c *candidate, h *policy.History, own policy.Verdict, now monotime.Time) policy.Verdict {
	since := dueSince(&own, now)
	if since.IsZero() {
		return own
	}
	spares, needsOwners := t.otherEnd(c, h, &own, since, now)
	v := own.SparedBy(spares, h, now)
	if needsOwners {
		v.NeedsOwners, v.Ask = true, false
	}
	return v
}

// queueOther queues the other end of a candidate for a look, unless it was looked at recently enough.
func (t *tracker) queueOther(c *candidate, now monotime.Time) {
	own := t.judgeAlone(c, now)
	since, end := dueSince(&own, now), c.end()
	for o := range t.ends.opposite(&end) {
		if o == c || o.isFreshFor(&c.history, since) {
			continue
		}
		switch o.step.phase {
		case phaseTimed, phaseForbidden, phaseUnowned, phaseUnasked, phaseAsking:
			t.handle(o, eventTimeCame, now)
		default: // a look is under way, or follows: in phaseRefused after retryAfter, in phaseWithdrawn after the answer
		}
	}
}

// reconsiderOther judges the other end again if the candidate's standing has changed, or if it waited for a look at the
// candidate (looked). The recursion terminates: a second judgement at the same moment finds the same standing.
func (t *tracker) reconsiderOther(c *candidate, was policy.Standing, looked bool, now monotime.Time) {
	changed := was != c.verdict.standing
	if !changed && !looked {
		return
	}
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if o != c && (changed || o.verdict.other == policy.StandingUnknown) {
			t.reconsiderIfJudged(o, now)
		}
	}
}

// reconsiderOthersOf judges the candidates again that a dropped candidate has spared as their other end.
func (t *tracker) reconsiderOthersOf(c *candidate, now monotime.Time) {
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if o != c && o.verdict.other != policy.StandingNone {
			t.reconsiderIfJudged(o, now)
		}
	}
}

// reconsiderIfJudged judges a candidate again, unless its phase leads to a judgement anyway.
func (t *tracker) reconsiderIfJudged(c *candidate, now monotime.Time) {
	if c.isConfirmed() && c.step.phase.isJudged() {
		t.reconsider(c, now)
	}
}

// otherForJob returns otherEnd for a candidate of an examiner's job. If the candidate is not due yet, but has another
// end, it returns StandingUnknown: the look may find it due.
func (t *tracker) otherForJob(c *candidate, now monotime.Time) policy.Standing {
	own := t.judgeAlone(c, now)
	if since := dueSince(&own, now); !since.IsZero() {
		spares, needsOwners := t.otherEnd(c, &c.history, &own, since, now)
		if spares == policy.StandingNone && needsOwners {
			return policy.StandingUnknown
		}
		return spares
	}
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if o != c {
			return policy.StandingUnknown
		}
	}
	return policy.StandingNone
}

// sparedByOther returns the examiner's verdict with the influence of the other end.
func sparedByOther(own policy.Verdict, other policy.Standing, h *policy.History, now monotime.Time) policy.Verdict {
	if dueSince(&own, now).IsZero() {
		return own
	}
	return own.SparedBy(other, h, now)
}
