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

// ends finds candidates of all network namespaces by their addresses, for the other end of a connection. Its keys are
// hashes: a policy.EndKey has 72 bytes, and there may be 500,000 candidates.
type ends struct {
	seed  maphash.Seed
	first map[uint64]*candidate // by the hash of the key; candidate.nextEnd leads to the others with the same hash
}

func newEnds() ends {
	return ends{seed: maphash.MakeSeed(), first: make(map[uint64]*candidate)}
}

// add adds a candidate under the addresses that it has now.
func (e *ends) add(c *candidate) {
	end := c.end()
	h := maphash.Comparable(e.seed, end.Key())
	c.nextEnd = e.first[h]
	e.first[h] = c
}

// remove removes a candidate, which still has the addresses that it was added under.
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

// opposite yields the candidates whose addresses are those of an end the other way round.
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

// dueSince returns since when a verdict asks for something to be done, zero if it does not.
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

// isFreshFor reports whether what is known of a candidate is new enough to act on its other end, which has been due
// since a time and whose history is h.
//
// A look after that time is always new enough. The other end has not moved a byte for a whole patience before it, as
// the examiner's look confirms at the moment of the destroy. So no byte has moved at this end either, and what this
// look showed can have changed in one direction only: unread bytes may have been read, and a queued connection may
// have been accepted, after which it spares less. Only its policy and its owners can make it spare more: a policy's
// change has it judged again at once, and the owners are looked up for both ends together.
//
// A peer is asked after a look, and a byte that moves ends the question: there is no need to cancel it for another.
func (c *candidate) isFreshFor(h *policy.History, since monotime.Time) bool {
	if !c.isConfirmed() {
		return false
	}
	if c.step.phase == phaseAsking {
		since = max(h.Start, h.Progress)
	}
	return !c.history.Last.Before(since)
}

// otherEnd returns what of the other end of its connection spares a candidate of which something has been due since a time.
// Exactly one other candidate must be that end. StandingUnknown means that it is not known: then nothing is done.
//
// needsOwners is set where the owners of the other end must be looked up first: they may be frozen.
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
				return policy.StandingNone, false // either may be it
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
		v.Standing = policy.StandingNone // both are observed: the history reports what would be destroyed
	}
	if !facts.OwnersKnown && s.Inode != 0 {
		may := v.ActWhy.May || v.EndWhy.May
		needsOwners = v.Standing == policy.StandingNone || may && other.owners == nil
	}
	return v.Standing, needsOwners
}

// withOther returns a candidate's own verdict with the say of the other end of its connection, which it has once
// something is due: until then the candidate's own reasons count.
func (t *tracker) withOther(c *candidate, h *policy.History, own policy.Verdict, now monotime.Time) policy.Verdict {
	since := dueSince(&own, now)
	if since.IsZero() {
		return own
	}
	spares, needsOwners := t.otherEnd(c, h, &own, since, now)
	v := own.SparedBy(spares)
	if needsOwners {
		v.NeedsOwners, v.Ask = true, false
	}
	return v
}

// queueOther queues the other end for the examiner, for whose answer a candidate waits.
func (t *tracker) queueOther(c *candidate, now monotime.Time) {
	own := t.judgeAlone(c, now)
	since, end := dueSince(&own, now), c.end()
	for o := range t.ends.opposite(&end) {
		if o == c || o.isFreshFor(&c.history, since) {
			continue
		}
		switch o.step.phase {
		case phaseTimed, phaseForbidden, phaseUnowned, phaseAsking:
			t.handle(o, eventTimeCame, now)
		default: // it is looked at anyway; in phaseRefused, when that is tried again
		}
	}
}

// reconsiderOther judges the other end again after what spares it may have changed: a candidate's own reason, or
// with looked its last look, for which the other end may have waited. It ends, since a second judgement at the same moment
// finds the same reason.
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

// reconsiderOthersOf judges the ends again that a candidate has spared, which is dropped.
func (t *tracker) reconsiderOthersOf(c *candidate, now monotime.Time) {
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if o != c && o.verdict.other != policy.StandingNone {
			t.reconsiderIfJudged(o, now)
		}
	}
}

// reconsiderIfJudged judges a candidate again, unless it will be judged anyway after what it waits for.
func (t *tracker) reconsiderIfJudged(c *candidate, now monotime.Time) {
	if c.isConfirmed() && c.step.phase.isJudged() {
		t.reconsider(c, now)
	}
}

// otherForJob returns what of the other end spares a candidate that the examiner is to look at. Where nothing was due
// of it yet, the look may find that something is: then it is first made sure of the other end.
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

// sparedByOther returns a verdict of the examiner with the say of the other end.
func sparedByOther(own policy.Verdict, other policy.Standing, now monotime.Time) policy.Verdict {
	if dueSince(&own, now).IsZero() {
		return own
	}
	return own.SparedBy(other)
}
