// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// printRegistration says what register has done, and on stderr what else there is to know. flag names the flag that set a
// value.
func (e *env) printRegistration(r registration, flag func(key string) string) error {
	if e.output == outputJSON {
		return printJSON(e.out, r)
	}
	again := ""
	if slices.Contains(r.Replaced, r.Record.ContainerID) {
		again = " again"
	}
	fmt.Fprintf(e.out, "registered %s%s: %s, %s\n", r.Record.ContainerID, again, term.Clean(r.Record.Netns.Path), r.Record.Netns.Identity)
	for _, old := range r.Replaced {
		if old != r.Record.ContainerID {
			fmt.Fprintf(e.out, "in place of %s\n", old)
		}
	}
	p := r.Record.Layers.Resolve(0).Policies[0]
	t := term.NewTable(e.out, e.screen(), term.Column{Name: "POLICY"}, term.Column{Name: "VALUE"}, term.Column{Name: "FROM"})
	for _, v := range policyValues(p) {
		from := p.Sources[v.key]
		if from == state.SourceRegister {
			from = flag(v.key)
		}
		t.Row(v.name, v.value, from)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	e.printNotes(r.Notes)
	return nil
}

// policyValue is one value of a policy, in words.
type policyValue struct{ name, key, value string }

func policyValues(p policy.Policy) []policyValue {
	return []policyValue{
		{"mode", "mode", p.Mode.String()},
		{"probe after", "probeAfter", p.ProbeAfter.String()},
		{"probe count", "probeCount", strconv.Itoa(p.ProbeCount)},
		{"probe interval", "probeInterval", policy.FormatDuration(p.ProbeInterval)},
		{"grace in CLOSE_WAIT", "closeWaitGrace", p.CloseWaitGrace.String()},
		{"grace in FIN_WAIT2", "finWait2Grace", p.FinWait2Grace.String()},
		{"pending grace", "pendingGrace", p.PendingGrace.String()},
		{"clock", "clock", p.Clock.String()},
		{"exempt", "exempt", exempted(p.Exempt)},
		{"rules", "rules", ruled(p.Rules)},
	}
}

// printUnregistration says what unregister has done.
func (e *env) printUnregistration(u unregistration) error {
	if e.output == outputJSON {
		return printJSON(e.out, u)
	}
	path := term.Clean(u.Path)
	if path == "" {
		path = "its record could not be read"
	}
	fmt.Fprintf(e.out, "unregistered %s: %s\n", u.Name, path)
	e.printNotes(u.Notes)
	return nil
}

func (e *env) printNotes(notes []string) {
	for _, note := range notes {
		e.note("note: %s", note)
	}
}

func exempted(list []policy.Match) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, 0, len(list))
	for _, x := range list {
		words = append(words, x.String())
	}
	return term.Clean(strings.Join(words, "; "))
}

// ruled says in words what rules there are: what each is for, and the values that it gives.
func ruled(list []policy.Rule) string {
	if len(list) == 0 {
		return "none"
	}
	words := make([]string, 0, len(list))
	for _, r := range list {
		words = append(words, r.Match.String()+": "+strings.Join(valued(&r.Values), ", "))
	}
	return term.Clean(strings.Join(words, "; "))
}

func valued(v *policy.Values) (words []string) {
	add := func(name string, value fmt.Stringer) { words = append(words, name+" "+value.String()) }
	if v.Mode != nil {
		add("mode", v.Mode)
	}
	for _, p := range []struct {
		name  string
		value *policy.Patience
	}{
		{"probe after", v.ProbeAfter}, {"grace", v.Grace}, {"grace in CLOSE_WAIT", v.CloseWaitGrace},
		{"grace in FIN_WAIT2", v.FinWait2Grace}, {"pending grace", v.PendingGrace},
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
