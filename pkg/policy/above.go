// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// Surplus is a socket past its grace, as far as the rules that leave a number of sockets alone need to know it.
type Surplus struct {
	Cookie uint64
	Start  monotime.Time // of its idle time: Verdict.EndWhy.Start
	Above  []RuleRef     // Verdict.Above
}

// SpareBelow says which sockets of one netns the rules with a number leave alone. The list has all sockets of the netns
// whose EndAt has passed; sockets that no such rule matches make no difference. A rule leaves alone all but those beyond its
// number that have been idle longest, ties by cookie. Each rule that matches must allow a destroy.
func SpareBelow(policies []Policy, due []Surplus) []bool {
	sets := make(map[RuleRef][]int)
	for i := range due {
		for _, ref := range due[i].Above {
			sets[ref] = append(sets[ref], i)
		}
	}
	spared := make([]bool, len(due))
	for ref, set := range sets {
		above, ok := threshold(policies, ref)
		if !ok {
			above = len(set) // a rule that is no longer there allows nothing
		}
		slices.SortFunc(set, func(a, b int) int {
			return cmp.Or(cmp.Compare(due[a].Start, due[b].Start), cmp.Compare(due[a].Cookie, due[b].Cookie))
		})
		for _, i := range set[max(len(set)-above, 0):] {
			spared[i] = true
		}
	}
	return spared
}

// threshold returns the number of sockets that a rule leaves alone.
func threshold(policies []Policy, ref RuleRef) (int, bool) {
	if ref.List != ListRules || ref.Policy >= len(policies) || ref.Index >= len(policies[ref.Policy].Rules) {
		return 0, false
	}
	above := policies[ref.Policy].Rules[ref.Index].Values.Above
	if above == nil {
		return 0, false
	}
	return *above, true
}

// BelowThreshold returns the verdict on a socket past its grace that a rule leaves alone. Its peer is asked nevertheless.
func (v Verdict) BelowThreshold(now monotime.Time) Verdict {
	if v.Reason != Destroyable && v.Reason != WouldDestroy {
		return v
	}
	v.Reason = BelowThreshold
	if v.isAskDue(now) {
		v.Reason = WouldAsk
		if v.Act == Destroy {
			v.Reason, v.Ask = AskingPeer, !v.NeedsOwners
		}
	}
	return v
}
