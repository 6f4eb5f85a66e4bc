// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/term"
)

// panelWidth returns the width of the panel about the selected pod, 0 on a screen without room for it.
func panelWidth(width int) int {
	if width < 150 {
		return 0
	}
	return width * 2 / 5
}

// draw draws the screen: height lines of at most width columns. If height is 0 it draws every row, without the line of
// keys.
func (m *model) draw(width, height int) []string {
	all := height == 0
	if all {
		height = 1 << 20
	}
	lines := m.head(width)
	room := max(0, height-len(lines)-1) // the last line is for the keys
	beside := panelWidth(width)
	switch {
	case m.screen == screenHelp:
		m.text.set(m.helpText(width))
		lines = append(lines, m.text.table(width, room)...)
	case m.screen == screenProblems:
		m.text.set(m.problemText(width))
		lines = append(lines, m.text.table(width, room)...)
	case m.open:
		lines = append(lines, m.podScreen(width, room)...)
	case m.screen != screenPods:
		lines = append(lines, m.list().table(width, room)...)
	case beside > 0 && !all:
		left := m.podsScreen(width-beside-3, room, false)
		left = append(left, make([]string, max(0, room-len(left)))...)
		for i, right := range m.panel(beside, room) {
			left[i] = padded(left[i], width-beside-3) + " " + term.Faint.Paint("│") + " " + right
		}
		lines = append(lines, left...)
	default:
		lines = append(lines, m.podsScreen(width, room, all)...)
	}
	if !all {
		lines = append(lines, make([]string, max(0, height-1-len(lines)))...)
		lines = append(lines[:max(0, height-1)], m.lastLine(width))
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "…")
		if m.problem != "" && i < len(lines)-1 && i > 0 {
			lines[i] = term.Faint.Paint(ansi.Strip(lines[i])) // they are old
		}
	}
	return lines
}

// podsScreen draws the totals, the problems, the ages and the list of pods.
func (m *model) podsScreen(width, height int, all bool) []string {
	const table = 4 // lines reserved for the table and its header
	var lines []string
	room := func() int { return max(0, height-len(lines)-table) }
	facts := m.facts(width)
	lines = append(lines, facts[:min(len(facts), room())]...)
	lines = append(lines, m.summary(width, min(4, room()))...)
	return m.rest(lines, width, height, room(), all, m.status.Ages, &m.pods)
}

// podScreen draws the facts, the problems, the ages and the sockets of one pod.
func (m *model) podScreen(width, height int) []string {
	const table = 12
	var lines []string
	room := func() int { return max(0, height-len(lines)-table) }
	facts := append(m.podFacts(width), m.sums(width)...)
	for _, problem := range m.podProblems() {
		facts = append(facts, painted(term.Odd, strings.Split(term.Fill(width, "! ", "  ", problem), "\n"))...)
	}
	lines = append(lines, facts[:min(len(facts), room())]...)
	r, _ := m.podRow()
	if !m.pod.loaded {
		return append(lines, "", "  Loading its sockets ...")
	}
	return m.rest(lines, width, height, room(), false, r.a.Ages, &m.sockets)
}

// rest adds the ages and a list to lines. The ages are left out if they do not fit in room.
func (m *model) rest(lines []string, width, height, room int, all bool, ages api.Ages, l lister) []string {
	chart := append([]string{""}, histogram(ages, m.status.AgeBounds, width)...)
	if len(chart) < room {
		lines = append(lines, chart...)
	}
	if room > 0 {
		lines = append(lines, "")
	}
	if all {
		return append(lines, l.table(width, 0)...)
	}
	return append(lines, l.table(width, max(1, height-len(lines)))...)
}

// head returns the first line: the screen, and the time of the last answer.
func (m *model) head(width int) []string {
	left := term.Strong.Paint("halfclose")
	for s, name := range []string{"Pods", "Leaks", "History", "Problems"} {
		if s == int(screenProblems) {
			if n := len(m.problems()); n > 0 {
				name += fmt.Sprintf(" (%d)", n)
			}
		}
		if screen(s) == m.screen {
			name = term.Inverse.Paint("[" + name + "]")
		}
		left += " " + name
	}
	if m.screen == screenHelp {
		left = term.Strong.Paint("halfclose help")
	} else if m.open {
		left = term.Strong.Paint("halfclose " + m.podName())
	}
	right := m.at.Format("15:04:05 MST")
	if m.cfg.Interval > 0 {
		right = "every " + m.cfg.Interval.String() + "  " + right
	}
	if m.paused {
		right = term.Inverse.Paint(" PAUSED ") + "  " + right
	}
	lines := []string{spread(left, right, width)}
	switch {
	case m.problem != "":
		text := fmt.Sprintf("no answer since %s: %s", m.since.Format(time.TimeOnly), m.problem)
		lines = append(lines, painted(term.Bad, strings.Split(term.Fill(width, "! ", "  ", safetext.Escape(text)), "\n"))...)
	case m.waiting:
		lines = append(lines, term.Odd.Paint("! waiting for the reaper ..."))
	}
	return lines[:min(len(lines), max(1, m.height/3))]
}

// lastLine returns the prompt, the result of the last change, what the last answer lacks, or the keys.
func (m *model) lastLine(width int) string {
	switch {
	case m.prompt != nil:
		return m.prompt.line()
	case m.notice != "":
		return term.Odd.Paint(safetext.Escape(m.notice))
	case m.missing != "":
		return term.Odd.Paint(safetext.Escape(m.missing))
	}
	return m.keyLine(width)
}

// filters describes the filters of the list.
func (m *model) filters() string {
	var words []string
	if text := m.list().filtered(); text != "" {
		words = append(words, fmt.Sprintf("/%s", safetext.Escape(text)))
	}
	if m.namespace != "" && m.ifList("x") != "" {
		words = append(words, "namespace "+safetext.Escape(m.namespace))
	}
	return strings.Join(words, " ")
}

// spread aligns left at the left and right at the right. If both do not fit, it drops right.
func spread(left, right string, width int) string {
	blanks := width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if blanks < 2 {
		return left
	}
	return left + strings.Repeat(" ", blanks) + right
}

// padded cuts or fills a line with styles to width.
func padded(line string, width int) string {
	line = ansi.Truncate(line, max(0, width), "…")
	return line + strings.Repeat(" ", max(0, width-ansi.StringWidth(line)))
}

// textSpec describes a list of lines of text.
func textSpec() spec[string] {
	return spec[string]{
		columns: func(int) []term.Column { return []term.Column{{}} },
		cells:   func(line string) []string { return []string{line} },
		key:     func(line string) string { return line },
		empty:   "  There are no problems.",
	}
}
