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
func (t *model) frame(width, height int) []line {
	all := height == 0
	lines := t.head(width)
	if all {
		height = 1 << 20
	} else {
		height-- // for the keys
	}
	wrong := t.findings()
	table := 4 // lines reserved for the table and its header
	if t.detail != nil {
		table = 12
	}
	room := func(want int) int { return max(0, min(want, height-len(lines)-table)) }
	facts := t.facts()
	lines = append(lines, facts[:room(len(facts))]...)
	lines = append(lines, firstLines(wrong, room(min(3, len(wrong))))...)
	ages := t.histogram(width)
	if len(ages) > 0 && room(len(ages)+2) == len(ages)+2 {
		lines = append(append(lines, line{}), ages...)
	}
	if room(1) > 0 {
		lines = append(lines, line{})
	}
	left := height - len(lines)
	if t.detail != nil {
		lines = append(lines, t.detail.lines(width, left)...)
	} else {
		lines = append(lines, t.table(width, left)...)
	}
	if all {
		return cutAll(lines, width)
	}
	for len(lines) < height {
		lines = append(lines, line{})
	}
	lines = append(lines[:max(0, height)], t.keyLine(width))
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
func (t *model) head(width int) []line {
	left := line{{"halfclose", term.Strong}}
	if t.detail != nil {
		left = left.with(term.Strong, " "+t.detailName())
	} else {
		left = left.with(term.Plain, fmt.Sprintf(" %s, %s", safetext.Escape(t.status.Version.Version), describe.Plural(t.status.Namespaces, "namespace", "namespaces")))
	}
	right := text(t.at.Format(time.TimeOnly))
	if t.interval > 0 {
		right = append(text("every "+t.interval.String()+"  "), right...)
	}
	if t.paused {
		right = append(line{{" PAUSED ", term.Inverse}, {"  ", term.Plain}}, right...)
	}
	word, why, _ := strings.Cut(describe.Mode(t.status.Mode), " ")
	return []line{
		left.spread(right, width),
		text("Mode      ").with(modeStyle(t.status.Mode.Effective), word).with(term.Odd, safetext.Escape(blankBefore(why))),
	}
}

func (t *model) detailName() string {
	for _, r := range t.rows {
		if r.key == t.detail.key {
			return r.name
		}
	}
	return safetext.Escape(t.detail.query) + " (gone)"
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
func (t *model) keyLine(width int) line {
	l := line{}
	add := func(k, action string) {
		if len(l) > 0 {
			l = l.with(term.Plain, "  ")
		}
		l = l.with(term.Strong, k).with(term.Plain, " "+action)
	}
	add("q", "quit")
	if t.detail != nil {
		add("Esc", "back")
	} else {
		add("Enter", "sockets")
	}
	add("p", map[bool]string{false: "pause", true: "resume"}[t.paused])
	position := t.list.position(len(t.rows), t.page)
	if d := t.detail; d != nil {
		position = d.list.position(len(d.sockets), d.page)
	} else {
		l = l.with(term.Plain, "  sort by")
		for i, o := range orders() {
			l = l.with(term.Plain, " ").with(term.Strong, string(o.key)).with(term.Plain, " ")
			st := term.Plain
			if Order(i) == t.order {
				st = term.Inverse
			}
			l = l.with(st, o.word)
		}
	}
	return l.spread(text(position), width)
}
