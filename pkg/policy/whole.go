// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

// Whole returns the layer that names every value of the policy.
func (p Policy) Whole() Layer {
	return Layer{
		Source: SourceNetwork,
		Values: Values{
			Mode: &p.Mode, CloseWaitGrace: &p.CloseWaitGrace, FinWait2Grace: &p.FinWait2Grace, ProbeAfter: &p.ProbeAfter,
			PendingGrace: &p.PendingGrace, Clock: &p.Clock,
		},
		ProbeCount: &p.ProbeCount, ProbeInterval: &p.ProbeInterval, Exempt: p.Exempt, Rules: p.Rules,
	}
}
