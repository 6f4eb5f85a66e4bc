// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term

import (
	"slices"
	"strings"
)

// Column is one column of a table.
type Column struct {
	Name  string
	Right bool // aligned right, as numbers are
	// Least is the smallest width that the column may be cut to; 0 keeps it as wide as its widest cell.
	Least int
	// Fold is the order in which columns leave a row that is wider than the screen: the highest first, columns with
	// the same number together, 0 never. Table prints them below the row.
	Fold int
	// Lead comes before the value below the row: a separator and a label.
	Lead string
	// IsRepeated reports whether another cell of a row has the value too, so that it is not printed below the row; nil: never.
	IsRepeated func(row []string) bool
	Paint      func(text string) Style // nil: Plain
}

// gap separates two columns.
const gap = "  "

// left is the width of a column that has left the row.
const left = -1

// Layout is the width of each column on a screen.
type Layout struct {
	cols   []Column
	widths []int
}

// NewLayout fits columns to width, 0 for any width: it makes columns with a Least narrower, then leaves out columns with a
// Fold. If there is room, each column fits its widest cell in rows.
func NewLayout(width int, cols []Column, rows [][]string) Layout {
	natural := make([]int, len(cols))
	for i, c := range cols {
		natural[i] = Columns(c.Name)
		for _, r := range rows {
			natural[i] = max(natural[i], Columns(r[i]))
		}
	}
	return fit(width, cols, natural)
}

// fit is NewLayout for columns whose widest cells are known.
func fit(width int, cols []Column, natural []int) Layout {
	l := Layout{cols: cols, widths: slices.Clone(natural)}
	if width <= 0 {
		return l
	}
	used := -len(gap)
	for i, c := range cols {
		if c.Least > 0 {
			l.widths[i] = min(natural[i], c.Least)
		}
		used += l.widths[i] + len(gap)
	}
	for used > width {
		fold := 0
		for i, c := range cols {
			if l.widths[i] != left {
				fold = max(fold, c.Fold)
			}
		}
		if fold == 0 {
			break // the other columns cannot be any narrower
		}
		for i, c := range cols {
			if c.Fold == fold {
				used -= l.widths[i] + len(gap)
				l.widths[i] = left
			}
		}
	}
	for grown := true; grown && used < width; {
		grown = false
		for i := range cols {
			if l.widths[i] != left && l.widths[i] < natural[i] && used < width {
				l.widths[i]++
				used++
				grown = true
			}
		}
	}
	return l
}

// shows reports whether a column is in the row.
func (l Layout) shows(column int) bool { return l.widths[column] != left }

// Header returns the line of the columns' names.
func (l Layout) Header() string {
	return l.line(l.names(), func(_ int, text string) string { return text })
}

func (l Layout) names() []string {
	names := make([]string, len(l.cols))
	for i, c := range l.cols {
		names[i] = c.Name
	}
	return names
}

// Line returns a row of clean cells without blanks at its end. A cell that is too wide loses its middle.
func (l Layout) Line(cells []string) string {
	return l.line(cells, func(_ int, text string) string { return text })
}

// line is Line with a function that styles the text of a cell.
func (l Layout) line(cells []string, paint func(column int, text string) string) string {
	var b strings.Builder
	blanks, begun := 0, false
	for i, text := range cells {
		if !l.shows(i) {
			continue
		}
		if begun {
			blanks += len(gap)
		}
		begun = true
		text = cutMiddle(text, l.widths[i])
		pad := l.widths[i] - Columns(text)
		if l.cols[i].Right {
			blanks, pad = blanks+pad, 0
		}
		if text != "" {
			b.WriteString(strings.Repeat(" ", blanks))
			blanks = 0
			b.WriteString(paint(i, text))
		}
		blanks += pad
	}
	return b.String()
}

// cutMiddle cuts clean text in its middle: names and addresses of one kind differ at their ends.
func cutMiddle(s string, width int) string {
	if Columns(s) <= width {
		return s
	}
	head := Cut(s, width-width/3)
	var tail []rune
	room := width - Columns(head)
	for _, r := range slices.Backward([]rune(s)) {
		if room -= Columns(string(r)); room < 0 {
			break
		}
		tail = append(tail, r)
	}
	slices.Reverse(tail)
	return head + string(tail)
}
