// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/term"
)

// column is a column of a grid.
type column struct {
	name  string
	right bool
	least int // how narrow it may become, with the middle of what is in it left out; 0: as it is
	spare int // which is left out first where there is no room: the highest; 0: never
}

// gridRow is one row of a grid.
type gridRow struct {
	text  []string
	style term.Style
}

// grid draws rows in columns on a screen of a width, with room for whatever is in all. Where there is no room,
// columns become narrower, and then those that can be spared are left out.
func grid(cols []column, all, rows []gridRow, width int) (head line, lines []line) {
	widths := fitGrid(cols, all, width)
	draw := func(text func(i int) string) string {
		var b strings.Builder
		for i, c := range cols {
			switch {
			case widths[i] < 0:
				continue
			case c.right:
				b.WriteString(term.PadLeft(text(i), widths[i]))
			default:
				b.WriteString(term.Pad(cutMiddle(text(i), widths[i]), widths[i]))
			}
			b.WriteString(term.Gap)
		}
		return strings.TrimSuffix(b.String(), term.Gap)
	}
	for _, r := range rows {
		lines = append(lines, line{{draw(func(i int) string { return r.text[i] }), r.style}})
	}
	return line{{draw(func(i int) string { return cols[i].name }), term.Strong}}, lines
}

// fitGrid says how wide each column is, -1 if it is left out.
func fitGrid(cols []column, rows []gridRow, width int) []int {
	natural, widths := make([]int, len(cols)), make([]int, len(cols))
	used := -len(term.Gap)
	for i, c := range cols {
		natural[i] = term.Columns(c.name)
		for _, r := range rows {
			natural[i] = max(natural[i], term.Columns(r.text[i]))
		}
		widths[i] = natural[i]
		if c.least > 0 {
			widths[i] = min(natural[i], c.least)
		}
		used += widths[i] + len(term.Gap)
	}
	for used > width {
		drop := -1
		for i, c := range cols {
			if widths[i] >= 0 && c.spare > 0 && (drop < 0 || c.spare > cols[drop].spare) {
				drop = i
			}
		}
		if drop < 0 {
			break // it cannot be any narrower
		}
		used -= widths[drop] + len(term.Gap)
		widths[drop] = -1
	}
	for grown := true; grown && used < width; {
		grown = false
		for i := range cols {
			if widths[i] >= 0 && widths[i] < natural[i] && used < width {
				widths[i]++
				used++
				grown = true
			}
		}
	}
	return widths
}

// cutMiddle cuts text, which has been through clean, in its middle: names and addresses of one kind differ at
// their ends.
func cutMiddle(s string, width int) string {
	if term.Columns(s) <= width {
		return s
	}
	head := term.Cut(s, width-width/3)
	var tail []rune
	left := width - term.Columns(head)
	for _, r := range slices.Backward([]rune(s)) {
		if left -= term.Columns(string(r)); left < 0 {
			break
		}
		tail = append(tail, r)
	}
	slices.Reverse(tail)
	return head + string(tail)
}
