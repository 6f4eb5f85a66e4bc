// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/term"
)

// The characters of the bars: sockets past their grace, and within it.
const (
	charOverdue     = "█"
	charWithinGrace = "░"
)

// histogram draws the ages of the sockets: one column for each state, or one for both on a narrow screen.
func (m *model) histogram(width int) []line {
	ages := m.status.Ages
	if m.detail != nil {
		i := slices.IndexFunc(m.rows, func(r row) bool { return r.key == m.detail.key })
		if i < 0 {
			return nil
		}
		ages = m.rows[i].a.Ages
	}
	shown := []struct {
		name   string
		counts api.AgeCounts
	}{{"CLOSE_WAIT", ages.CloseWait}, {"FIN_WAIT2", ages.FinWait2}}
	if width < 60 {
		both := ages.CloseWait
		for i := range both.Sockets {
			both.Sockets[i] += ages.FinWait2.Sockets[i]
			both.Overdue[i] += ages.FinWait2.Overdue[i]
		}
		shown = shown[:1]
		shown[0].name, shown[0].counts = "SOCKETS", both
	}
	highest := 1
	for _, c := range shown {
		highest = max(highest, slices.Max(c.counts.Sockets[:]))
	}
	const label = 10
	wide := (width - label) / len(shown)
	head := line{{term.Pad("AGE", label), term.Strong}}
	for i, c := range shown {
		if i > 0 {
			head = head.with(term.Plain, strings.Repeat(" ", max(0, label+i*wide-head.width())))
		}
		head = head.with(term.Strong, c.name)
	}
	head = head.cut(width).spread(text(charWithinGrace+" in grace  "+charOverdue+" past it"), width)
	lines := []line{head}
	for i, name := range bucketNames(m.status.AgeBounds) {
		l := text(term.Pad(name, label))
		if i >= len(ages.CloseWait.Sockets) {
			break // the reaper is of a version with other buckets
		}
		for _, c := range shown {
			l = append(l, bar(c.counts.Sockets[i], c.counts.Overdue[i], highest, wide)...)
		}
		lines = append(lines, l)
	}
	return lines
}

// bucketNames returns the labels of the buckets of ages.
func bucketNames(bounds []api.Seconds) []string {
	if len(bounds) == 0 {
		return nil
	}
	word := func(s api.Seconds) string {
		d := time.Duration(s)
		if d%time.Hour == 0 {
			return strconv.Itoa(int(d/time.Hour)) + "h"
		}
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	names := []string{"<" + word(bounds[0])}
	for i, b := range bounds[1:] {
		from, to := word(bounds[i]), word(b)
		if from[len(from)-1] == to[len(to)-1] { // the unit
			from = from[:len(from)-1]
		}
		names = append(names, from+"-"+to)
	}
	return append(names, ">"+word(bounds[len(bounds)-1]))
}

// bar draws n sockets as a bar and a number, in width columns. A bar of highest sockets fills the width.
func bar(n, overdue, highest, width int) line {
	if n == 0 {
		return line{{term.Pad("·", width), term.Faint}}
	}
	figure := " " + strconv.Itoa(n)
	room := max(1, width-len(strconv.Itoa(highest))-3)
	length := max(1, n*room/highest)
	solid := min(length, (overdue*length+n-1)/n) // at least one character if any is past its grace
	l := line{{strings.Repeat(charOverdue, solid), term.Odd}, {strings.Repeat(charWithinGrace, length-solid), term.Plain}, {figure, term.Plain}}
	return l.with(term.Plain, strings.Repeat(" ", max(0, width-l.width())))
}

// miniature draws the ages of both states, one character for each bucket.
func miniature(a api.Ages) string {
	counts := make([]float64, len(a.CloseWait.Sockets))
	for i := range counts {
		counts[i] = float64(a.CloseWait.Sockets[i] + a.FinWait2.Sockets[i])
	}
	return bars(counts)
}
