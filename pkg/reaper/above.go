// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// surplus is what a network namespace knows of its sockets past their grace that rules with a number match: its due ones.
// The ones above the number may go. They are chosen all together, at most once a second, since a choice
// costs O(n log n).
type surplus struct {
	chosenAt monotime.Time // when the allowed ones were last chosen
	// shrunk is set when one that was not allowed is due no more: there are fewer now, and so one of the allowed ones
	// stays. Until the next choice none goes.
	shrunk bool
}

// chooseEvery is the shortest time between two choices in a network namespace.
const chooseEvery = time.Second

// isSurplus reports whether a verdict is on a due socket of a rule with a number, which was there at a look since it is
// due: one that has gone must not make another one go.
func (c *candidate) isSurplus(v *policy.Verdict) bool {
	return len(v.Above) > 0 && v.Act != policy.Off && !c.history.Last.Before(v.EndAt)
}

// limited returns a verdict with the say of the rules with a number. ownersSought is set once owners have been looked
// for: a socket that stays needs no second search.
func limited(v policy.Verdict, allowed, ownersSought bool, now monotime.Time) policy.Verdict {
	if len(v.Above) == 0 || allowed {
		return v
	}
	v = v.BelowThreshold(now)
	if v.Reason == policy.BelowThreshold && ownersSought {
		v.NeedsOwners = false
	}
	return v
}

// isAllowed reports whether the rules with a number let a candidate go.
func (c *candidate) isAllowed() bool { return c.verdict.allowed && !c.ns.surplus.shrunk }

// count keeps the due ones of a candidate's network namespace, after a verdict on it.
func (t *tracker) count(c *candidate, v *policy.Verdict) {
	switch due := c.isSurplus(v); {
	case due && !c.verdict.surplus:
		c.verdict.surplus = true
		t.toChoose[c.ns] = struct{}{}
	case !due && c.verdict.surplus:
		t.uncount(c)
	}
}

// uncount takes a candidate out of the due ones. That an allowed one goes leaves the others as they are.
func (t *tracker) uncount(c *candidate) {
	if !c.verdict.surplus {
		return
	}
	if !c.verdict.allowed {
		c.ns.surplus.shrunk = true
		t.toChoose[c.ns] = struct{}{}
	}
	c.verdict.surplus, c.verdict.allowed = false, false
}

// choose chooses the sockets that may go in each network namespace in which they may have changed.
func (t *tracker) choose(now monotime.Time) {
	for ns := range t.toChoose {
		if at := ns.surplus.chosenAt; at.IsZero() || now.Sub(at) >= chooseEvery {
			delete(t.toChoose, ns)
			t.chooseIn(ns, now)
		}
	}
}

// untilChoice returns how long no choice is due.
func (t *tracker) untilChoice(now monotime.Time) time.Duration {
	wait := time.Hour
	for ns := range t.toChoose {
		wait = min(wait, max(ns.surplus.chosenAt.Add(chooseEvery).Sub(now), 0))
	}
	return wait
}

func (t *tracker) chooseIn(ns *registered, now monotime.Time) {
	var (
		list []*candidate
		due  []policy.Surplus
	)
	for cookie, c := range ns.candidates {
		if !c.verdict.surplus {
			continue
		}
		own := t.judgeAlone(c, now)
		if v := t.withOther(c, &c.history, own, now); c.isSurplus(&v) {
			list, due = append(list, c), append(due, policy.Surplus{Cookie: cookie, Start: v.EndWhy.Start, Above: v.Above})
		} else {
			c.verdict.allowed = false
		}
	}
	shrunk := ns.surplus.shrunk
	ns.surplus = surplus{chosenAt: now}
	for i, spared := range policy.SpareBelow(ns.policies, due) {
		c, was := list[i], list[i].verdict.allowed
		c.verdict.allowed = !spared
		if was == spared || shrunk {
			t.reconsiderIfJudged(c, now)
		}
	}
}

// chooseAgain forgets what was chosen in a network namespace whose rules have changed.
func (t *tracker) chooseAgain(ns *registered) {
	ns.surplus = surplus{}
	for _, c := range ns.candidates {
		if c.verdict.surplus {
			c.verdict.allowed = false
			t.toChoose[ns] = struct{}{}
		}
	}
}
