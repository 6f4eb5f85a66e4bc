// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/term"
)

// The characters of the bars: sockets past their grace, and the others.
const (
	charOverdue = "█"
	charWithin  = "░"
)

// histogram draws the ages of the sockets: one column for each state, or one for both on a narrow screen.
func histogram(ages api.Ages, bounds []api.Seconds, width int) []string {
	type counts struct {
		name string
		api.AgeCounts
	}
	shown := []counts{{"CLOSE_WAIT", ages.CloseWait}, {"FIN_WAIT2", ages.FinWait2}}
	if width < 60 {
		both := api.Ages{CloseWait: ages.CloseWait}
		both.Merge(&api.Ages{CloseWait: ages.FinWait2})
		shown = []counts{{"SOCKETS", both.CloseWait}}
	}
	highest := 1
	for _, c := range shown {
		highest = max(highest, slices.Max(c.Sockets[:]))
	}
	wide := (width - labelWidth) / len(shown)
	cells := func(first string, cell func(c counts) string) string {
		line := []string{term.Pad(first, labelWidth)}
		for _, c := range shown {
			line = append(line, cell(c))
		}
		return strings.TrimRight(strings.Join(line, ""), " ")
	}
	head := cells("AGE", func(c counts) string { return term.Pad(c.name, wide) })
	lines := []string{spread(term.Strong.Paint(head), charWithin+" in grace  "+charOverdue+" past it", width)}
	for i, name := range bucketNames(bounds) {
		if i >= api.AgeBuckets {
			break // the reaper is of a version with other buckets
		}
		lines = append(lines, cells(name, func(c counts) string { return bar(c.Sockets[i], c.Overdue[i], highest, wide) }))
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

// bar draws n sockets as a bar and a number, in width columns; a bar of highest sockets fills the width. If some are past
// their grace and others are not, the bar has both characters, and the number of the former is beside it.
func bar(n, overdue, highest, width int) string {
	if n == 0 {
		return term.Faint.Paint(term.Pad("·", width))
	}
	overdue = min(overdue, n)
	figure := " " + strconv.Itoa(n)
	mixed := overdue > 0 && overdue < n
	if mixed {
		figure += fmt.Sprintf(" (%d past)", overdue)
	}
	room := max(1, width-len(strconv.Itoa(highest))-len(" ( past)")-len(strconv.Itoa(highest))-2)
	length := max(1, n*room/highest)
	solid := overdue * length / n
	if mixed {
		length = max(2, length)
		solid = max(1, min(length-1, solid))
	}
	text := term.Odd.Paint(strings.Repeat(charOverdue, solid)) + strings.Repeat(charWithin, length-solid) + figure
	return padded(text, width)
}

// miniature draws the ages of both states, one character for each bucket.
func miniature(a api.Ages) string {
	counts := make([]float64, api.AgeBuckets)
	for i := range counts {
		counts[i] = float64(a.CloseWait.Sockets[i] + a.FinWait2.Sockets[i])
	}
	return bars(counts)
}

// bars draws each count as a vertical bar of one column. The highest fills the line.
func bars(counts []float64) string {
	highest := slices.Max(counts)
	signs := []rune("▁▂▃▄▅▆▇█")
	b := make([]rune, 0, len(counts))
	for _, n := range counts {
		if n <= 0 {
			b = append(b, '·')
			continue
		}
		b = append(b, signs[min(len(signs)-1, int(n/highest*float64(len(signs))))])
	}
	return string(b)
}
