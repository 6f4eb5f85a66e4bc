// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// enforce returns policy p with the layer above it. It differs from over in three ways, because a pod must not evade the
// layer with a rule of its own:
//   - the layer's rules come before those of p, instead of replacing them;
//   - no rule of p exceeds the layer's mode;
//   - a rule from the pod's annotations loses the patiences and the clock that the layer names.
func (l *Layer) enforce(p Policy) Policy {
	lower, source := p.Rules, p.Sources[keyRules]
	rest := *l
	rest.Rules = nil
	p = rest.over(p)
	if l.Mode != nil {
		p.changeRules(func(v *Values) {
			if v.Mode != nil {
				v.Mode = new(MostConservative(*v.Mode, *l.Mode))
			}
		})
		lower = p.Rules
	}
	if len(lower) > 0 {
		lower = slices.Clone(lower)
		for i := range lower {
			r := &lower[i]
			if r.Source == "" && len(l.Rules) > 0 {
				r.Source = source
			}
			if isAnnotation(r.Source) || r.Source == "" && isAnnotation(source) {
				l.hide(r)
			}
		}
		p.Rules = lower
	}
	if len(l.Rules) == 0 {
		return p
	}
	rules := make([]Rule, 0, len(l.Rules)+len(lower))
	for _, r := range l.Rules {
		r.Source = l.source(keyRules)
		rules = append(rules, r)
	}
	p.Rules = append(rules, lower...)
	p.Sources[keyRules] = l.source(keyRules)
	if len(lower) > 0 {
		p.Sources[keyRules] += " + " + source
	}
	return p
}

// RuleSource returns the source of the rule at an index.
func (p *Policy) RuleSource(i int) string { return cmp.Or(p.Rules[i].Source, p.Sources[keyRules]) }

func isAnnotation(source string) bool { return strings.HasPrefix(source, SourceAnnotation+" ") }

// hide removes the patiences and the clock that the layer names from a rule. What the rule does not name comes from the
// policy, which has the layer's values.
func (l *Layer) hide(r *Rule) {
	v := &r.Values
	closeWait, _ := l.grace(inetdiag.CloseWait)
	finWait2, _ := l.grace(inetdiag.FinWait2)
	if v.Grace != nil && (closeWait != nil) != (finWait2 != nil) { // hide one half of it
		if closeWait == nil && v.CloseWaitGrace == nil {
			v.CloseWaitGrace = v.Grace
		}
		if finWait2 == nil && v.FinWait2Grace == nil {
			v.FinWait2Grace = v.Grace
		}
		v.Grace = nil
	}
	if closeWait != nil {
		v.CloseWaitGrace = nil
	}
	if finWait2 != nil {
		v.FinWait2Grace = nil
	}
	if closeWait != nil && finWait2 != nil {
		v.Grace = nil
	}
	if l.ProbeAfter != nil {
		v.ProbeAfter = nil
	}
	if l.PendingGrace != nil {
		v.PendingGrace = nil
	}
	if l.Clock != nil {
		v.Clock = nil
	}
}
