// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/install"
	"github.com/halfclose/halfclose/pkg/term"
)

// printInstall prints the result of an installation or a dry run.
func (e *env) printInstall(c install.Config, r install.Result) error {
	for _, w := range r.Warnings {
		e.note("warning: %s", w)
	}
	if e.PrintsObject() {
		return e.PrintObject(r)
	}
	e.printProgramLines(c, r.Programs)
	e.printLine("Network", r.Network+" in "+r.File, done(c.DryRun, r.Changed, "written"))
	e.printDiff(r.Diff)
	if len(r.Dropped) > 0 {
		e.note("note: the existing entry had %s, which this command does not set: %s back to the default; to keep them, give all flags in one command",
			strings.Join(r.Dropped, ", "), map[bool]string{true: "they would go", false: "they are"}[c.DryRun])
	}
	if c.DropIn {
		e.note("note: containerd from 2.1 and CRI-O from 1.34 load this file, since they have libcni 1.3.0; other runtimes ignore it")
		e.note("note: CRI-O runs DEL and CHECK from a cached configuration without drop-ins, so they do not reach halfclose: " +
			"a deleted container's record stays until the reaper prunes it, ten minutes later")
	}
	return nil
}

// printPrograms prints the result of an upgrade or a dry run.
func (e *env) printPrograms(c install.Config, p install.Programs) error {
	if e.PrintsObject() {
		return e.PrintObject(p)
	}
	e.printProgramLines(c, p)
	return nil
}

func (e *env) printProgramLines(c install.Config, p install.Programs) {
	if p.Reaper != nil {
		e.printLine("Reaper", program(*p.Reaper), done(c.DryRun, p.Reaper.Changed, "written"))
	}
	e.printLine("Plugin", program(p.Plugin), done(c.DryRun, p.Plugin.Changed, "written"))
}

// printRemoval prints the result of an uninstallation or a dry run.
func (e *env) printRemoval(c install.Config, r install.Removal) error {
	for _, w := range r.Warnings {
		e.note("warning: %s", w)
	}
	if e.PrintsObject() {
		return e.PrintObject(r)
	}
	for _, f := range r.Files {
		e.printLine("Network", f.Network+" in "+f.File, "entry "+done(c.DryRun, true, "removed"))
	}
	if len(r.Files) == 0 {
		e.printLine("Network", "none in "+c.ConfDir+" lists halfclose", "nothing to do")
	}
	switch {
	case r.Plugin.Changed:
		e.printLine("Plugin", r.Plugin.Path, done(c.DryRun, true, "removed"))
	case len(r.Files) > 0:
		e.printLine("Plugin", r.Plugin.Path, "kept for the pods that were created with it")
	}
	if r.Reaper.Changed {
		e.printLine("Reaper", r.Reaper.Path, done(c.DryRun, true, "removed"))
	}
	e.printDiff(r.Diff)
	return nil
}

// program returns the path of an installed program, with the target of a symbolic link.
func program(p install.Program) string {
	if p.Link != "" {
		return p.Path + " -> " + p.Link
	}
	return p.Path
}

// done returns the state of a file after an operation.
func done(dryRun, changed bool, verb string) string {
	switch {
	case !changed:
		return "unchanged"
	case dryRun:
		return "would be " + verb
	}
	return verb
}

func (e *env) printLine(what, which, how string) {
	fmt.Fprintln(e.Out, term.Fill(e.Screen().Width, fmt.Sprintf("%-9s ", what), strings.Repeat(" ", 10), safetext.Escape(which+": "+how)))
}

// printDiff prints a diff with the colours of other tools.
func (e *env) printDiff(diff string) {
	if diff == "" {
		return
	}
	s := e.Screen()
	fmt.Fprintln(e.Out)
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		st := term.Plain
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			st = term.Strong
		case strings.HasPrefix(line, "-"):
			st = term.Bad
		case strings.HasPrefix(line, "+"):
			st = term.Good
		}
		// Escape would replace tabs, which many files use for indentation.
		shown := strings.Split(line, "\t")
		for i := range shown {
			shown[i] = safetext.Escape(shown[i])
		}
		fmt.Fprintln(e.Out, s.Paint(st, strings.Join(shown, "\t")))
	}
}
