// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// PrintPolicies prints the effective policies of attachments, with the source of each value.
func (p *Printer) PrintPolicies(list *api.PolicyList) error {
	sc := p.Screen()
	line := func(label, text string) { fmt.Fprint(p.Out, labelled(sc, label, text)) }
	for i := range list.Policies {
		of := &list.Policies[i]
		if i > 0 {
			fmt.Fprintln(p.Out)
		}
		origin := fmt.Sprintf(" %s, network %s", of.IfName, of.Network)
		if of.Network == state.ManualNetwork {
			origin = ", registered by hand"
		}
		line("Pod", describe.Pod(of.Pod, of.ContainerID)+origin)
		mode := of.Mode.String()
		if len(of.CappedBy) > 0 {
			mode += ", capped by " + strings.Join(of.CappedBy, "; ")
		}
		line("Mode", mode)
		line("Overrides", overridesText(of))
		if text := p.policyFileText(list.PolicyFile); text != "" {
			line("File", text)
			entries := "none"
			if len(of.Entries) > 0 {
				entries = strings.Join(of.Entries, ", ")
			}
			line("Entries", entries)
		}
		for j := range of.Policies {
			if err := p.printSourcedPolicy(&of.Policies[j]); err != nil {
				return err
			}
		}
		for _, w := range of.Warnings {
			fmt.Fprintln(p.Out, "\n"+term.Fill(sc.Width, "! ", "  ", safetext.Escape(w)))
		}
	}
	return nil
}

// overridesText describes how far the pod's annotations count.
func overridesText(p *api.EffectivePolicy) string {
	switch {
	case p.PodOverrides == policy.OverridesNone:
		return "none: annotations are ignored"
	case len(p.Policies) > 1:
		return "relax: the more conservative verdict of both policies counts"
	}
	return p.PodOverrides.String()
}

// printSourcedPolicy prints the values of a policy, one in each row, with their sources.
func (p *Printer) printSourcedPolicy(of *api.SourcedPolicy) error {
	fmt.Fprintln(p.Out)
	if of.Annotations != "" {
		fmt.Fprintln(p.Out, term.Fill(p.Screen().Width, "", "", "Policy "+of.Annotations+" the pod's annotations"))
	}
	t := p.NewTable(term.Column{Name: "KEY"}, term.Column{Name: "VALUE", Fold: 1}, term.Column{Name: "SOURCE", Fold: 2, Lead: "; from "})
	all := policy.Policy(of.Policy)
	for _, v := range describe.PolicyValues(all) {
		switch {
		case v.Key == "exempt" && len(all.Exempt) > 0:
			for i, m := range all.Exempt {
				t.Row("exempt["+strconv.Itoa(i)+"]", m.String(), of.Sources[v.Key])
			}
		case v.Key == "rules" && len(all.Rules) > 0:
			for i := range all.Rules {
				source := of.Sources[v.Key]
				if i < len(of.RuleSources) {
					source = of.RuleSources[i]
				}
				t.Row("rules["+strconv.Itoa(i)+"]", describe.Rule(&all.Rules[i]), source)
			}
		default:
			t.Row(v.Key, v.Value, of.Sources[v.Key])
		}
	}
	return t.Flush()
}

// policyFileText describes the node's policy file in one line, "" if there is none.
func (p *Printer) policyFileText(f api.PolicyFileView) string {
	content := fmt.Sprintf("%s, sha256 %s, since %s", describe.Plural(f.Entries, "entry", "entries"), f.SHA256, p.Stamp(f.Since))
	switch f.State {
	case api.PolicyFileInForce:
		return fmt.Sprintf("%s (%s)", f.Path, content)
	case api.PolicyFileLastGood:
		return fmt.Sprintf("last good content of %s (%s): the file has %s", f.Path, content, describe.Plural(f.Errors, "error", "errors"))
	case api.PolicyFileNone:
		return fmt.Sprintf("none: %s has %s and no last good content, so every pod is only observed", f.Path, describe.Plural(f.Errors, "error", "errors"))
	}
	return ""
}
