// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"strings"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/halfclose/halfclose/pkg/term"
)

// command is what a key does. The line of keys shows the short help of its binding, the help screen its long help.
type command struct {
	key.Binding
	long string
	do   func() tea.Cmd
}

// commands lists the keys, the most useful first.
func (m *model) commands() []command {
	var list []command
	bind := func(name, short, long string, do func() tea.Cmd, keys ...string) {
		list = append(list, command{key.NewBinding(key.WithKeys(keys...), key.WithHelp(name, short)), long, do})
	}
	move := func(name, long string, by func() int, keys ...string) {
		bind(name, "", long, func() tea.Cmd { m.list().move(by()); return nil }, keys...)
	}
	show := func(name, long string, s screen) {
		bind(name, "", long, func() tea.Cmd { m.show(s); return nil }, name)
	}
	page := func() int { return max(1, m.list().rows()-1) }

	bind("q", "quit", "quit", func() tea.Cmd { return tea.Quit }, "q", "ctrl+c")
	bind("?", "help", "this help", m.help, "?")
	bind("Enter", m.ifList("sockets"), "show the sockets of the selected pod", m.enter, "enter")
	bind("Esc", m.unlessList("back"), "clear the filter, or return, or show all namespaces", m.back, "esc")
	bind("/", "filter", "show only the rows with some words", m.promptFilter, "/")
	bind("s", m.sortHelp(), "sort by the next column", func() tea.Cmd { m.list().sortNext(); return nil }, "s")
	bind("r", "", "reverse the order", func() tea.Cmd { m.list().reverse(); return nil }, "r")
	bind("n", "", "show only the pods of one Kubernetes namespace", m.promptNamespace, "n")
	if m.cfg.SetMode != nil {
		bind("m", "mode", "stop destroying on the node, in a namespace or for a pod, or allow it again", m.promptSwitch, "m")
	}
	bind("p", map[bool]string{false: "pause", true: "resume"}[m.paused], "pause, or resume", m.pause, "p", "space")
	show("1", "show the pods", screenPods)
	show("2", "show the leaks: the leaked sockets of each process", screenLeaks)
	show("3", "show the history", screenHistory)
	show("4", "show the problems, and what to do about them", screenProblems)
	bind("Tab", "", "show the next of these", func() tea.Cmd { m.show((m.screen + 1) % screenHelp); return nil }, "tab")
	move("↑ k", "move up", func() int { return -1 }, "up", "k")
	move("↓ j", "move down", func() int { return 1 }, "down", "j")
	move("PgUp", "move up by a page", func() int { return -page() }, "pgup", "ctrl+b")
	move("PgDn", "move down by a page", page, "pgdown", "ctrl+f")
	move("Home g", "move to the first row", func() int { return -maxRows }, "home", "g")
	move("End G", "move to the last row", func() int { return maxRows }, "end", "G")
	bind("^L", "", "draw the screen again", func() tea.Cmd { return tea.ClearScreen }, "ctrl+l")
	bind("^Z", "", "suspend", func() tea.Cmd { return suspend }, "ctrl+z")
	return list
}

// maxRows is more than any list has.
const maxRows = 1 << 30

func (m *model) ifList(word string) string {
	if m.open || m.screen >= screenProblems {
		return ""
	}
	return word
}

func (m *model) unlessList(word string) string {
	if m.ifList(word) == "" {
		return word
	}
	return ""
}

func (m *model) sortHelp() string {
	if word := m.list().sorted(); word != "" {
		return "sort: " + word
	}
	return ""
}

// legend explains the columns and the signs.
func legend() [][2]string {
	return [][2]string{
		{"CLOSE_WAIT", "sockets whose peer has closed and whose owner has not"},
		{"FIN_WAIT2", "sockets whose owner has shut its side and whose peer has not"},
		{"OLDEST", "how long the oldest of them has been half-closed"},
		{"AGES", "their ages, one bar for each line of the chart"},
		{"DESTROYED", "destroyed since the reaper started"},
		{"WOULD-DESTROY", "past their grace, and only the mode prevented the destroy"},
		{"GROWTH", "sockets of a leak that became half-closed per minute"},
		{"HELD", "ended sockets whose owner still has their descriptors: restart it"},
		{"GRACE", "of both states, or of CLOSE_WAIT/FIN_WAIT2; * marks a mode that is capped"},
		{charWithin, "in the chart: before the end of the grace, or with grace never"},
		{charOverdue, "in the chart: past the grace, but kept, only observed, or waiting for the rate limit"},
		{"!", "has a problem: press 4"},
	}
}

// helpText returns the help screen.
func (m *model) helpText(width int) []string {
	var rows [][2]string
	for _, c := range m.commands() {
		rows = append(rows, [2]string{c.Help().Key, c.long})
	}
	var lines []string
	for _, row := range append(append(rows, [2]string{}), legend()...) {
		lines = append(lines, strings.Split(term.Fill(width, term.Pad(row[0], 15), strings.Repeat(" ", 15), row[1]), "\n")...)
	}
	return lines
}

// keyLine returns the last line: the keys that matter here, and on the right the filters and the visible rows.
func (m *model) keyLine(width int) string {
	right := strings.TrimSpace(m.filters() + "  " + m.list().position())
	h := help.New()
	h.ShortSeparator = "  "
	h.Styles = help.Styles{ShortKey: lipgloss.NewStyle().Bold(true)}
	h.SetWidth(max(1, width-ansi.StringWidth(right)-2))
	var keys []key.Binding
	for _, c := range m.commands() {
		if c.Help().Desc != "" {
			keys = append(keys, c.Binding)
		}
	}
	return spread(h.ShortHelpView(keys), right, width)
}
