// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// findings lists the conditions that need attention, one line each, the worst first. If several attachments or files have
// one of a kind, the line counts them and names the first.
func (m *model) findings() []line {
	var lines []line
	add := func(st term.Style, text string) {
		lines = append(lines, line{{"! " + safetext.Escape(text), st}})
	}
	if m.problem != "" {
		add(term.Bad, fmt.Sprintf("no answer since %s: %s", m.since.Format(time.TimeOnly), m.problem))
	}
	if m.detail != nil {
		return append(lines, m.detail.findings(m.rows)...)
	}
	grouped := make(map[describe.Kind][]string)
	warned := make(map[*api.AttachmentView]bool)
	for _, f := range describe.Findings(m.status) {
		text, _ := f.Advice()
		if f.Attachment != nil {
			text = rowName(*f.Attachment) + ": " + text
		}
		switch f.Kind {
		case describe.SwitchUnreadable, describe.KernelRefuses, describe.FinderLate, describe.ModeCapped: // shown elsewhere
		case describe.AskedLost, describe.AskedUnreadable, describe.DescriptorsHeld, describe.MoreDescriptorsHeld: // "halfclose status" shows them
		case describe.Refused:
			switch {
			case f.Refusal.Fatal:
				add(term.Bad, text)
			case f.Refusal.Kind != api.RefusedNetns: // these have a finding each
				add(term.Odd, text)
			}
		case describe.DestroysRefused, describe.Unwritable:
			add(term.Bad, text)
		case describe.AskingSuspended, describe.BudgetWaiting, describe.NearFileLimit:
			add(term.Odd, text)
		case describe.Unreachable, describe.SweepFailed:
			if f.Attachment.Inert == "" {
				grouped[f.Kind] = append(grouped[f.Kind], text)
			}
		case describe.Warned:
			if !warned[f.Attachment] { // its other warnings are in its detail
				warned[f.Attachment] = true
				grouped[f.Kind] = append(grouped[f.Kind], text)
			}
		case describe.Blocked, describe.Inert, describe.NotARecord:
			grouped[f.Kind] = append(grouped[f.Kind], text)
		}
	}
	for _, g := range []struct {
		kind   describe.Kind
		plural string
	}{
		{describe.Unreachable, "pods cannot be entered"},
		{describe.SweepFailed, "pods cannot be swept"},
		{describe.Blocked, "pods are only observed because of a file"},
		{describe.Warned, "pods have warnings"},
		{describe.Inert, "pods are left alone"},
		{describe.NotARecord, "files are not records"},
	} {
		switch list := grouped[g.kind]; len(list) {
		case 0:
		case 1:
			add(term.Odd, list[0])
		default:
			add(term.Odd, fmt.Sprintf("%d %s, such as %s", len(list), g.plural, list[0]))
		}
	}
	return lines
}

// findings lists the conditions of the pod that need attention.
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
				lines = append(lines, line{{"! " + safetext.Escape(problem), term.Odd}})
			}
		}
	}
	return lines
}
