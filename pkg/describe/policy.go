// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/policy"
)

// PolicyValue is the text of one value of a policy.
type PolicyValue struct{ Name, Key, Value string }

// PolicyValues returns the values of a policy, with foreign text escaped.
func PolicyValues(p policy.Policy) []PolicyValue {
	return []PolicyValue{
		{"mode", "mode", p.Mode.String()},
		{"probe after", "probeAfter", p.ProbeAfter.String()},
		{"probe count", "probeCount", strconv.Itoa(p.ProbeCount)},
		{"probe interval", "probeInterval", policy.FormatDuration(p.ProbeInterval)},
		{"grace in CLOSE_WAIT", "closeWaitGrace", p.CloseWaitGrace.String()},
		{"grace in FIN_WAIT2", "finWait2Grace", p.FinWait2Grace.String()},
		{"pending grace", "pendingGrace", p.PendingGrace.String()},
		{"clock", "clock", p.Clock.String()},
		{"exempt", "exempt", exemptText(p.Exempt)},
		{"rules", "rules", rulesText(p.Rules)},
	}
}

func exemptText(list []policy.Match) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, 0, len(list))
	for _, x := range list {
		words = append(words, x.String())
	}
	return safetext.Escape(strings.Join(words, "; "))
}

// rulesText lists the rules of a policy: the match and the values of each.
func rulesText(list []policy.Rule) string {
	if len(list) == 0 {
		return "none"
	}
	words := make([]string, 0, len(list))
	for _, r := range list {
		words = append(words, Rule(&r))
	}
	return safetext.Escape(strings.Join(words, "; "))
}

// Rule returns the match and the values of a rule.
func Rule(r *policy.Rule) string {
	values := valueTexts(&r.Values)
	if len(values) == 0 {
		values = []string{"the base values"}
	}
	return r.Match.String() + ": " + strings.Join(values, ", ")
}

func valueTexts(v *policy.Values) (words []string) {
	add := func(name string, value fmt.Stringer) { words = append(words, name+" "+value.String()) }
	if v.Mode != nil {
		add("mode", v.Mode)
	}
	for _, p := range []struct {
		name  string
		value *policy.Patience
	}{
		{"probe after", v.ProbeAfter},
		{"grace", v.Grace},
		{"grace in CLOSE_WAIT", v.CloseWaitGrace},
		{"grace in FIN_WAIT2", v.FinWait2Grace},
		{"pending grace", v.PendingGrace},
	} {
		if p.value != nil {
			add(p.name, p.value)
		}
	}
	if v.Clock != nil {
		add("clock", v.Clock)
	}
	if v.Above != nil {
		words = append(words, "above "+strconv.Itoa(*v.Above))
	}
	if v.AskSigpipe != nil {
		words = append(words, "ask SIGPIPE "+strconv.FormatBool(*v.AskSigpipe))
	}
	return words
}
