// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// surplus is the state of "above" rules in one network namespace. Such a rule counts the sockets that it matches and
// that are past their grace; those in excess of its number may be destroyed. They are selected together, at most once
// per selectInterval, since a selection costs O(n log n).
type surplus struct {
	selectedAt monotime.Time
	// shrunk is set when a counted socket that was not selected stops counting: the number in excess is one less. No
	// socket is destroyed until the next selection.
	shrunk bool
}

// selectInterval is the shortest time between two selections in a network namespace.
const selectInterval = time.Second

// countsAsSurplus reports whether an above rule counts the candidate. It must have been seen since its grace ended: a
// socket that has closed must not cause the destroy of another.
func (c *candidate) countsAsSurplus(v *policy.Verdict) bool {
	return len(v.Above) > 0 && v.Act != policy.Off && !c.history.Last.Before(v.EndAt)
}

// withThreshold returns the verdict after the above rules. allowed reports whether they select the socket. If its owners
// have been looked up, a socket that is kept needs no second look-up.
func withThreshold(v policy.Verdict, allowed, ownersSought bool, now monotime.Time) policy.Verdict {
	if len(v.Above) == 0 || allowed {
		return v
	}
	v = v.BelowThreshold(now)
	if v.Reason == policy.BelowThreshold && ownersSought {
		v.NeedsOwners = false
	}
	return v
}

// isAllowed reports whether the above rules allow a destroy of the candidate.
func (c *candidate) isAllowed() bool { return c.verdict.allowed && !c.ns.surplus.shrunk }

// countSurplus updates the above rules' count after a verdict on the candidate.
func (t *tracker) countSurplus(c *candidate, v *policy.Verdict) {
	switch due := c.countsAsSurplus(v); {
	case due && !c.verdict.surplus:
		c.verdict.surplus = true
		t.toSelect[c.ns] = struct{}{}
	case !due && c.verdict.surplus:
		t.uncountSurplus(c)
	}
}

// uncountSurplus removes the candidate from the above rules' count. A selected one leaves the others unchanged.
func (t *tracker) uncountSurplus(c *candidate) {
	if !c.verdict.surplus {
		return
	}
	if !c.verdict.allowed {
		c.ns.surplus.shrunk = true
		t.toSelect[c.ns] = struct{}{}
	}
	c.verdict.surplus, c.verdict.allowed = false, false
}

// selectSurplus makes the selection of the above rules in each network namespace where the count has changed.
func (t *tracker) selectSurplus(now monotime.Time) {
	for ns := range t.toSelect {
		if at := ns.surplus.selectedAt; at.IsZero() || now.Sub(at) >= selectInterval {
			delete(t.toSelect, ns)
			t.selectSurplusIn(ns, now)
		}
	}
}

// untilSelection returns the time until the next selection is due, an hour if none is.
func (t *tracker) untilSelection(now monotime.Time) time.Duration {
	wait := time.Hour
	for ns := range t.toSelect {
		wait = min(wait, max(ns.surplus.selectedAt.Add(selectInterval).Sub(now), 0))
	}
	return wait
}

func (t *tracker) selectSurplusIn(ns *registered, now monotime.Time) {
	var (
		list []*candidate
		due  []policy.Surplus
	)
	for cookie, c := range ns.candidates {
		if !c.verdict.surplus {
			continue
		}
		own := t.judgeAlone(c, now)
		if v := t.withOther(c, &c.history, own, now); c.countsAsSurplus(&v) {
			list, due = append(list, c), append(due, policy.Surplus{Cookie: cookie, Start: v.EndWhy.Start, Above: v.Above})
		} else {
			c.verdict.allowed = false
		}
	}
	shrunk := ns.surplus.shrunk
	ns.surplus = surplus{selectedAt: now}
	for i, spared := range policy.SpareBelow(ns.policies, due) {
		c, was := list[i], list[i].verdict.allowed
		c.verdict.allowed = !spared
		if was == spared || shrunk {
			t.reconsiderIfJudged(c, now)
		}
	}
}

// resetSurplus discards the selection in a network namespace whose rules have changed.
func (t *tracker) resetSurplus(ns *registered) {
	ns.surplus = surplus{}
	for _, c := range ns.candidates {
		if c.verdict.surplus {
			c.verdict.allowed = false
			t.toSelect[ns] = struct{}{}
		}
	}
}
