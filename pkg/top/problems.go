// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// problem is a condition that needs attention.
type problem struct {
	style      term.Style
	text, todo string // clean; todo is what to do about it
	kind       describe.Kind
	grouped    bool // one of several of a kind is enough in a summary
}

// problems lists the conditions that need attention, in the order of "halfclose status".
func (m *model) problems() []problem {
	var list []problem
	for _, f := range describe.Findings(m.status) {
		if f.Kind == describe.ModeCapped { // the mode names its caps
			continue
		}
		text, todo := f.Advice()
		p := problem{style: term.Odd, kind: f.Kind, todo: safetext.Escape(todo), grouped: f.Attachment != nil || f.Kind == describe.NotARecord}
		if f.Attachment != nil {
			text = rowName(*f.Attachment) + ": " + text
		}
		if f.Kind == describe.DestroysRefused || f.Kind == describe.KernelRefuses || f.Kind == describe.Unwritable || f.Kind == describe.Refused && f.Refusal.Fatal {
			p.style = term.Bad
		}
		p.text = safetext.Escape(text)
		list = append(list, p)
	}
	return list
}

// shownElsewhere reports whether a summary leaves a problem out: the totals or other problems have it.
func (p problem) shownElsewhere() bool {
	switch p.kind {
	case describe.SwitchUnreadable, describe.KernelRefuses, describe.FinderLate, describe.AskedLost, describe.AskedUnreadable:
		return true
	}
	return false
}

// summary returns up to height lines with the problems; those of several pods are one line.
func (m *model) summary(width, height int) []string {
	counts := make(map[describe.Kind]int)
	for _, p := range m.problems() {
		counts[p.kind]++
	}
	var lines []string
	for _, p := range m.problems() {
		n := counts[p.kind]
		if p.shownElsewhere() || p.grouped && n == 0 {
			continue
		}
		text := p.text
		if p.grouped && n > 1 {
			text = fmt.Sprintf("%d like %s", n, text)
			counts[p.kind] = 0
		}
		lines = append(lines, painted(p.style, strings.Split(term.Fill(width, "! ", "  ", text), "\n"))...)
	}
	if len(lines) > height && height > 0 {
		lines = append(lines[:height-1], term.Odd.Paint(fmt.Sprintf("! %s: press 4", describe.Plural(len(m.problems()), "problem", "problems"))))
	}
	return lines[:min(len(lines), max(0, height))]
}

// problemText returns the screen of problems, each with what to do.
func (m *model) problemText(width int) []string {
	var lines []string
	for _, p := range m.problems() {
		lines = append(lines, painted(p.style, strings.Split(term.Fill(width, "! ", "  ", p.text), "\n"))...)
		lines = append(lines, strings.Split(term.Fill(width, "  To do: ", "  ", p.todo), "\n")...)
	}
	return lines
}

func painted(style term.Style, lines []string) []string {
	for i := range lines {
		lines[i] = style.Paint(lines[i])
	}
	return lines
}
