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

// The signs of the histogram: sockets that are past their grace, and the others.
const (
	signOverdue = "█"
	signYoung   = "░"
)

// histogram draws how old the sockets are, of each state in a column of its own where there is room for two.
func (t *model) histogram(width int) []line {
	ages := t.status.Ages
	if t.detail != nil {
		i := slices.IndexFunc(t.rows, func(r row) bool { return r.key == t.detail.key })
		if i < 0 {
			return nil
		}
		ages = t.rows[i].a.Ages
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
	head = head.cut(width).spread(text(signYoung+" in grace  "+signOverdue+" past it"), width)
	lines := []line{head}
	for i, name := range bucketNames(t.status.AgeBounds) {
		l := text(term.Pad(name, label))
		if i >= len(ages.CloseWait.Sockets) {
			break // of a reaper with other buckets
		}
		for _, c := range shown {
			l = append(l, bar(c.counts.Sockets[i], c.counts.Overdue[i], highest, wide)...)
		}
		lines = append(lines, l)
	}
	return lines
}

// bucketNames names the buckets of a histogram of ages.
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
		names = append(names, from+"–"+to)
	}
	return append(names, ">"+word(bounds[len(bounds)-1]))
}

// bar draws a bar with its number in so many columns; one as long as highest has no more than that.
func bar(n, overdue, highest, width int) line {
	if n == 0 {
		return line{{term.Pad("·", width), term.Faint}}
	}
	figure := " " + strconv.Itoa(n)
	room := max(1, width-len(strconv.Itoa(highest))-3)
	length := max(1, n*room/highest)
	solid := min(length, (overdue*length+n-1)/n) // what is past its grace is seen, however little it is
	l := line{{strings.Repeat(signOverdue, solid), term.Odd}, {strings.Repeat(signYoung, length-solid), term.Plain}, {figure, term.Plain}}
	return l.with(term.Plain, strings.Repeat(" ", max(0, width-l.width())))
}

// miniature draws the ages of both states together, a column for each bucket.
func miniature(a api.Ages) string {
	counts := make([]float64, len(a.CloseWait.Sockets))
	for i := range counts {
		counts[i] = float64(a.CloseWait.Sockets[i] + a.FinWait2.Sockets[i])
	}
	return bars(counts)
}
