// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// printRegistration says what register has done, and on stderr what else there is to know.
func (e *env) printRegistration(r registration) error {
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
	t := term.NewTable(e.out, e.screen(), term.Column{Name: "POLICY"}, term.Column{Name: "VALUE"}, term.Column{Name: "FROM"})
	p, sources := r.Record.Policy, r.Record.Sources
	t.Row("mode", p.Mode.String(), sources["mode"])
	t.Row("grace in CLOSE_WAIT", p.CloseWaitGrace.String(), sources["closeWaitGrace"])
	t.Row("grace in FIN_WAIT2", p.FinWait2Grace.String(), sources["finWait2Grace"])
	t.Row("clock", p.Clock.String(), sources["clock"])
	t.Row("pending data", p.PendingData.String(), sources["pendingData"])
	t.Row("exempt", exempted(p.Exempt), sources["exempt"])
	if err := t.Flush(); err != nil {
		return err
	}
	e.printNotes(r.Notes)
	return nil
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

func exempted(list []policy.Exemption) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, 0, len(list))
	for _, x := range list {
		words = append(words, x.String())
	}
	return strings.Join(words, "; ")
}
