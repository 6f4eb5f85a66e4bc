// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// wrong is everything that somebody should look at, a line each, the worst first. What many attachments have
// is told of one of them.
func (t *model) wrong() []line {
	var lines []line
	say := func(st term.Style, format string, args ...any) {
		lines = append(lines, line{{"! " + term.Clean(fmt.Sprintf(format, args...)), st}})
	}
	if t.problem != "" {
		say(term.Bad, "no answer since %s: %s", t.since.Format(time.TimeOnly), t.problem)
	}
	if t.detail != nil {
		return append(lines, t.detail.wrong(t.rows)...)
	}
	s := t.status
	if len(s.Counts.Errors) > 0 {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(s.Counts.Errors)) {
			list = append(list, fmt.Sprintf("%d with %s", s.Counts.Errors[name], name))
		}
		say(term.Bad, "destroys were refused: %s", strings.Join(list, ", "))
	}
	if s.Budget.Waiting > 0 {
		say(term.Odd, "%s for --max-destroys-per-second %d", describe.Plural(s.Budget.Waiting, "socket waits", "sockets wait"), s.Budget.PerSecond)
	}
	var problems, inert, warnings []string
	for _, a := range s.Attachments {
		name := rowName(a) + ": "
		switch {
		case a.Inert != "":
			inert = append(inert, name+"nothing is done: "+a.Inert)
		case a.Problem != "":
			problems = append(problems, name+a.Problem)
		}
		if len(a.Warnings) > 0 {
			warnings = append(warnings, name+a.Warnings[0])
		}
	}
	for _, kind := range []struct {
		what string
		list []string
	}{
		{"cannot be looked into", problems},
		{"carry warnings", warnings},
		{"are left alone", inert},
		{"files are no records", recordProblems(s.Problems)},
	} {
		switch n := len(kind.list); n {
		case 0:
		case 1:
			say(term.Odd, "%s", kind.list[0])
		default:
			say(term.Odd, "%d %s, such as %s", n, kind.what, kind.list[0])
		}
	}
	return lines
}

func recordProblems(views []api.ProblemView) []string {
	list := make([]string, 0, len(views))
	for _, p := range views {
		list = append(list, "record "+p.File+": "+p.Problem)
	}
	return list
}

// wrong is what is wrong with one pod.
func (d *detail) wrong(rows []row) []line {
	var lines []line
	for _, r := range rows {
		if r.key != d.key {
			continue
		}
		for _, problem := range slices.Concat([]string{r.a.Inert, r.a.Problem}, r.a.Warnings, d.problems) {
			if problem != "" {
				lines = append(lines, line{{"! " + term.Clean(problem), term.Odd}})
			}
		}
	}
	return lines
}
