// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// holders has the owners of a candidate that is due, and those of the other end of its connection: nil if they are unknown, or
// if the candidate is not due.
type holders struct {
	own, other *ownerSet
	end        *candidate // the other end, for the loop alone
	// freshOwn and freshOther are the same owners with the conditions that the examiner has read, if these spare the socket for now: all
	// are frozen, or were since the last reading, or all have exited, so that it may have others.
	freshOwn, freshOther *ownerSet
}

// holders returns the owners that the examiner must check before it acts on a candidate.
func (t *tracker) holders(c *candidate, now monotime.Time) (h holders) {
	own := t.judgeAlone(c, now)
	if !t.findsOwners || dueSince(&own, now).IsZero() {
		return h
	}
	h.own = c.owners
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if oe := o.end(); o != c && policy.AreTwoEnds(&end, &oe) {
			if h.end != nil {
				return holders{own: c.owners} // ambiguous
			}
			h.end, h.other = o, o.owners
		}
	}
	return h
}

// takeFresh stores the conditions of owners that spare a socket, as the examiner has read them.
func (t *tracker) takeFresh(c *candidate, h *holders, at monotime.Time) {
	if h.freshOwn != nil && c.owners == h.own && c.step.phase != phaseDropped {
		c.owners = h.freshOwn
		was := c.history.FrozenIdle
		t.excludeFrozenTime(c, h.own, at)
		if h.freshOwn.wereFrozenSince(h.own) { // the next look comes at least that much later, whatever the figure
			c.history.AddFrozen(minSampleInterval - (c.history.FrozenIdle - was))
		}
	}
	if o := h.end; h.freshOther != nil && o.owners == h.other && o.step.phase != phaseDropped {
		o.owners = h.freshOther
		t.excludeFrozenTime(o, h.other, at)
		t.reconsiderIfJudged(o, at)
	}
}

// freshOwners reads the conditions of owners again just before a destroy: the last reading may be a quarter of the patience old, and
// owners may have been frozen since.
type freshOwners struct {
	conditions func(pids []int) map[int]owners.Condition // nil: they cannot be read

	known map[*ownerSet]*ownerSet // with the conditions of the last reading
	until monotime.Time           // of known
}

// minConditionLifetime and maxConditionLifetime bound for how long the conditions of owners count as fresh, for a burst of sockets
// of one process. Between them it is ten times what a reading takes.
const minConditionLifetime, maxConditionLifetime = 10 * time.Millisecond, 100 * time.Millisecond

// refresh updates the facts of the job's sockets with these indexes: owners that are all frozen spare a socket, and so do those of
// the other end. If all have exited, another process may have the socket, and the owners are unknown. If all were frozen since the last
// reading, the loop excludes that time first.
func (f *freshOwners) refresh(j *job, indexes []int, clock monotime.Clock) {
	if f.conditions == nil {
		return
	}
	at := clock.Now()
	if !at.Before(f.until) {
		f.known = nil
	}
	var pids []int
	var missing []*ownerSet
	need := func(set *ownerSet) {
		if set == nil || len(set.facts) == 0 || f.known[set] != nil || slices.Contains(missing, set) {
			return
		}
		missing = append(missing, set)
		for _, p := range set.list {
			pids = append(pids, p.PID)
		}
	}
	for _, i := range indexes {
		need(j.held[i].own)
		need(j.held[i].other)
	}
	if len(pids) > 0 {
		found := f.conditions(pids)
		done := clock.Now()
		if f.known == nil {
			f.known, f.until = make(map[*ownerSet]*ownerSet), at.Add(min(max(minConditionLifetime, 10*done.Sub(at)), maxConditionLifetime))
		}
		for _, set := range missing {
			f.known[set] = set.withConditions(found, at)
		}
	}
	for _, i := range indexes {
		h := &j.held[i]
		switch n := f.known[h.own]; {
		case n.areAllFrozen():
			h.freshOwn, j.facts[i].Owners = n, n.facts
		case n.haveAllExited():
			h.freshOwn, j.facts[i] = n, policy.Facts{}
		case n.wereFrozenSince(h.own):
			h.freshOwn, j.facts[i].OwnersKnown = n, false
		}
		if j.others[i] != policy.StandingNone {
			continue
		}
		switch n := f.known[h.other]; {
		case n.areAllFrozen():
			h.freshOther, j.others[i] = n, policy.StandingFrozen
		case n.haveAllExited(), n.wereFrozenSince(h.other) && n.at.Sub(h.other.at) >= minSampleInterval: // else it was excluded just now
			h.freshOther, j.others[i] = n, policy.StandingUnknown
		}
	}
}
