// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// findings lists what a person should look at, a line each, the worst first. Of what many attachments have, the line
// names one.
func (t *model) findings() []line {
	var lines []line
	say := func(st term.Style, format string, args ...any) {
		lines = append(lines, line{{"! " + term.Clean(fmt.Sprintf(format, args...)), st}})
	}
	if t.problem != "" {
		say(term.Bad, "no answer since %s: %s", t.since.Format(time.TimeOnly), t.problem)
	}
	if t.detail != nil {
		return append(lines, t.detail.findings(t.rows)...)
	}
	var refused, waiting []string
	grouped := make(map[describe.Kind][]string)
	warned := make(map[*api.AttachmentView]bool)
	for _, f := range describe.Findings(t.status) {
		name := ""
		if f.Attachment != nil {
			name = rowName(*f.Attachment) + ": "
		}
		switch f.Kind {
		case describe.DestroysRefused:
			refused = append(refused, fmt.Sprintf("%d with %s", f.Count, f.Text))
		case describe.BudgetWaiting:
			waiting = append(waiting, describe.Plural(f.Count, "socket waits", "sockets wait"))
		case describe.Inert:
			grouped[f.Kind] = append(grouped[f.Kind], name+"nothing is done: "+f.Text)
		case describe.Refused:
			switch {
			case f.Refusal.Fatal:
				say(term.Bad, "%s", describe.Refusal(*f.Refusal))
			case f.Refusal.Kind != api.RefusedNetns: // those have a finding each
				say(term.Odd, "%s", describe.Refusal(*f.Refusal))
			}
		case describe.AskingSuspended:
			say(term.Odd, "no peer is asked: %s blocked", describe.Plural(f.Count, "thread is", "threads are"))
		case describe.Unreachable:
			if f.Attachment.Inert == "" {
				grouped[f.Kind] = append(grouped[f.Kind], name+"cannot be entered: "+f.Text)
			}
		case describe.SweepFailed:
			if f.Attachment.Inert == "" {
				grouped[f.Kind] = append(grouped[f.Kind], name+f.Text)
			}
		case describe.Warned:
			if !warned[f.Attachment] { // its other warnings are in its detail
				warned[f.Attachment] = true
				grouped[f.Kind] = append(grouped[f.Kind], name+f.Text)
			}
		case describe.NotARecord:
			grouped[f.Kind] = append(grouped[f.Kind], f.Text)
		case describe.SwitchUnreadable, describe.KernelRefuses, describe.FinderLate, describe.ModeCapped: // elsewhere on the screen
		case describe.Blocked:
			grouped[f.Kind] = append(grouped[f.Kind], name+"only observed: "+f.Text)
		case describe.AskedLost, describe.AskedUnreadable: // status has them
		}
	}
	if len(refused) > 0 {
		say(term.Bad, "destroys were refused: %s", strings.Join(refused, ", "))
	}
	for _, text := range waiting {
		say(term.Odd, "%s for --max-destroys-per-second %d", text, t.status.Budget.PerSecond)
	}
	for _, g := range []struct {
		kind describe.Kind
		what string
	}{
		{describe.Unreachable, "cannot be entered"},
		{describe.SweepFailed, "cannot be looked into"},
		{describe.Blocked, "are only observed because of a file"},
		{describe.Warned, "carry warnings"},
		{describe.Inert, "are left alone"},
		{describe.NotARecord, "files are no records"},
	} {
		switch list := grouped[g.kind]; len(list) {
		case 0:
		case 1:
			say(term.Odd, "%s", list[0])
		default:
			say(term.Odd, "%d %s, such as %s", len(list), g.what, list[0])
		}
	}
	return lines
}

// findings lists what a person should look at of one pod.
func (d *detail) findings(rows []row) []line {
	var lines []line
	for _, r := range rows {
		if r.key != d.key {
			continue
		}
		var problems []string
		for _, f := range describe.AttachmentFindings(&r.a) {
			if f.Kind != describe.ModeCapped { // the facts have that
				problems = append(problems, f.Text)
			}
		}
		for _, problem := range append(problems, d.problems...) {
			if problem != "" {
				lines = append(lines, line{{"! " + term.Clean(problem), term.Odd}})
			}
		}
	}
	return lines
}
