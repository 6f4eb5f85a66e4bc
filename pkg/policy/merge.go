// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// Merge returns the more careful of each value, for a namespace that several attachments share: off before
// observe before destroy, the longest grace of each state, progress before state, keep before destroy, and
// the exemptions of all, sorted and each once. A value that is not valid counts as the most careful. Of no
// policy at all it is one that destroys nothing.
//
// The order of the policies makes no difference, and neither does merging some of them first.
func Merge(policies ...Policy) Policy {
	if len(policies) == 0 {
		return Policy{Mode: Off, CloseWaitGrace: Never, FinWait2Grace: Never}
	}
	merged := Policy{Mode: Destroy, Clock: ClockState, PendingData: PendingDestroy}
	for _, p := range policies {
		merged.Mode = MostCareful(merged.Mode, p.Mode)
		merged.CloseWaitGrace = max(merged.CloseWaitGrace, orNever(p.CloseWaitGrace))
		merged.FinWait2Grace = max(merged.FinWait2Grace, orNever(p.FinWait2Grace))
		merged.Clock = moreCareful(merged.Clock, p.Clock)
		merged.PendingData = moreCareful(merged.PendingData, p.PendingData)
		for _, e := range p.Exempt {
			merged.Exempt = append(merged.Exempt, e.canonical())
		}
	}
	slices.SortFunc(merged.Exempt, compareExemptions)
	merged.Exempt = slices.CompactFunc(merged.Exempt, Exemption.Equal)
	return merged
}

// moreCareful is the careful one of two values, of which 0 is the careful one and 1 the other; anything
// else counts as careful.
func moreCareful[T Clock | PendingData](a, b T) T {
	if a == 1 && b == 1 {
		return 1
	}
	return 0
}
