// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// Surplus is a socket past its grace that above rules count.
type Surplus struct {
	Cookie uint64
	Start  monotime.Time // of its idle time: Verdict.EndWhy.Start
	Above  []RuleRef     // Verdict.Above
}

// SpareBelow returns which sockets of a netns the above rules spare. The list has all sockets of the netns whose EndAt has
// passed; sockets without an above rule have no effect. A rule with number N spares N of its sockets: the ones that have
// been idle for the shortest time, ties by cookie. If several rules match a socket, each must allow it.
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
			above = len(set) // a rule that no longer exists spares all
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

// threshold returns the number of sockets that a rule spares.
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

// BelowThreshold returns the verdict on a socket past its grace that an above rule spares. Its peer is still asked.
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
