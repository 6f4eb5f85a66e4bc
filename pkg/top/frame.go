// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// frame draws the screen: height lines of at most width columns. If height is 0 it draws every row, without the line of
// keys.
func (m *model) frame(width, height int) []line {
	all := height == 0
	lines := m.head(width)
	if all {
		height = 1 << 20
	} else {
		height-- // for the keys
	}
	wrong := m.findings()
	table := 4 // lines reserved for the table and its header
	if m.detail != nil {
		table = 12
	}
	room := func(want int) int { return max(0, min(want, height-len(lines)-table)) }
	facts := m.facts()
	lines = append(lines, facts[:room(len(facts))]...)
	lines = append(lines, firstLines(wrong, room(min(3, len(wrong))))...)
	ages := m.histogram(width)
	if len(ages) > 0 && room(len(ages)+2) == len(ages)+2 {
		lines = append(append(lines, line{}), ages...)
	}
	if room(1) > 0 {
		lines = append(lines, line{})
	}
	left := height - len(lines)
	if m.detail != nil {
		lines = append(lines, m.detail.lines(width, left)...)
	} else {
		lines = append(lines, m.table(width, left)...)
	}
	if all {
		return cutAll(lines, width)
	}
	for len(lines) < height {
		lines = append(lines, line{})
	}
	lines = append(lines[:max(0, height)], m.keyLine(width))
	return cutAll(lines, width)
}

func cutAll(lines []line, width int) []line {
	for i := range lines {
		lines[i] = lines[i].cut(width)
	}
	return lines
}

// firstLines cuts lines to room. If it drops any, the last line counts them.
func firstLines(lines []line, room int) []line {
	if len(lines) <= room {
		return lines
	}
	shown := slices.Clone(lines[:room])
	if room > 1 {
		shown[room-1] = line{{fmt.Sprintf("! and %d more: see \"halfclose status\"", len(lines)-room+1), term.Odd}}
	}
	return shown
}

// head returns the two lines that a screen of any size shows.
func (m *model) head(width int) []line {
	left := line{{"halfclose", term.Strong}}
	if m.detail != nil {
		left = left.with(term.Strong, " "+m.detailName())
	} else {
		left = left.with(term.Plain, fmt.Sprintf(" %s, %s", safetext.Escape(m.status.Version.Version), describe.Plural(m.status.Namespaces, "namespace", "namespaces")))
	}
	right := text(m.at.Format(time.TimeOnly))
	if m.interval > 0 {
		right = append(text("every "+m.interval.String()+"  "), right...)
	}
	if m.paused {
		right = append(line{{" PAUSED ", term.Inverse}, {"  ", term.Plain}}, right...)
	}
	word, why, _ := strings.Cut(describe.Mode(m.status.Mode), " ")
	return []line{
		left.spread(right, width),
		text("Mode      ").with(modeStyle(m.status.Mode.Effective), word).with(term.Odd, safetext.Escape(blankBefore(why))),
	}
}

func (m *model) detailName() string {
	for _, r := range m.rows {
		if r.key == m.detail.key {
			return r.name
		}
	}
	return safetext.Escape(m.detail.query) + " (gone)"
}

func modeStyle(m policy.Mode) term.Style {
	if m == policy.Destroy {
		return term.Strong + ";" + term.Good
	}
	return term.Strong + ";" + term.Odd
}

func blankBefore(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// keyLine returns the line of keys, with the range of visible rows.
func (m *model) keyLine(width int) line {
	l := line{}
	add := func(k, action string) {
		if len(l) > 0 {
			l = l.with(term.Plain, "  ")
		}
		l = l.with(term.Strong, k).with(term.Plain, " "+action)
	}
	add("q", "quit")
	if m.detail != nil {
		add("Esc", "back")
	} else {
		add("Enter", "sockets")
	}
	add("p", map[bool]string{false: "pause", true: "resume"}[m.paused])
	position := m.list.position(len(m.rows), m.page)
	if d := m.detail; d != nil {
		position = d.list.position(len(d.sockets), d.page)
	} else {
		l = l.with(term.Plain, "  sort by")
		for i, o := range orders() {
			l = l.with(term.Plain, " ").with(term.Strong, string(o.key)).with(term.Plain, " ")
			st := term.Plain
			if Order(i) == m.order {
				st = term.Inverse
			}
			l = l.with(st, o.word)
		}
	}
	return l.spread(text(position), width)
}
