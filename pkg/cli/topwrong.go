// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// wrong is everything that somebody should look at, a line each, the worst first. What many attachments have
// is told of one of them.
func (t *top) wrong() []topLine {
	var lines []topLine
	say := func(st style, format string, args ...any) {
		lines = append(lines, topLine{{"! " + clean(fmt.Sprintf(format, args...)), st}})
	}
	if t.problem != "" {
		say(bad, "no answer since %s: %s", t.since.Format(time.TimeOnly), t.problem)
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
		say(bad, "destroys were refused: %s", strings.Join(list, ", "))
	}
	if s.Budget.Waiting > 0 {
		say(odd, "%s for --max-destroys-per-second %d", plural(s.Budget.Waiting, "socket waits", "sockets wait"), s.Budget.PerSecond)
	}
	var problems, inert, warnings []string
	for _, a := range s.Attachments {
		name := topName(a) + ": "
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
			say(odd, "%s", kind.list[0])
		default:
			say(odd, "%d %s, such as %s", n, kind.what, kind.list[0])
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
func (d *topDetail) wrong(rows []topRow) []topLine {
	var lines []topLine
	for _, r := range rows {
		if r.key != d.key {
			continue
		}
		for _, problem := range slices.Concat([]string{r.a.Inert, r.a.Problem}, r.a.Warnings, d.problems) {
			if problem != "" {
				lines = append(lines, topLine{{"! " + clean(problem), odd}})
			}
		}
	}
	return lines
}
