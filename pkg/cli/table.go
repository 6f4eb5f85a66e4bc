// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"slices"
	"strings"
)

// column is one column of a table.
type column struct {
	name  string
	right bool // aligned right, as numbers are
	// fold says when the column leaves the row, where rows are wider than the screen, for the lines below it:
	// the highest first, columns of the same together, and 0 never.
	fold int
	// lead comes before the value there: what separates it from the value before, and what it is.
	lead  string
	paint func(text string) style // nil: plain
}

// table prints rows of cells in columns that fit the screen: what a row has no room for is below it, and
// nothing is cut. Every cell is made harmless first: names come from pods.
type table struct {
	out    io.Writer
	screen screen
	cols   []column
	rows   [][]string
	widths []int  // of each column, as wide as its widest cell
	header []bool // which columns the header that was printed last has
}

func newTable(out io.Writer, s screen, cols ...column) *table {
	t := &table{out: out, screen: s, cols: cols, widths: make([]int, len(cols))}
	for i, c := range cols {
		t.widths[i] = columns(c.name)
	}
	return t
}

// row adds a row, which has a cell for each column.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = clean(c)
		t.widths[i] = max(t.widths[i], columns(cells[i]))
	}
	t.rows = append(t.rows, cells)
}

// flush prints the rows that were added since the last flush, below a header if there is none yet that has
// the same columns.
func (t *table) flush() error {
	w := new(strings.Builder)
	shown := t.fit()
	if !slices.Equal(shown, t.header) {
		t.header = shown
		names := make([]string, len(t.cols))
		for i, c := range t.cols {
			names[i] = c.name
		}
		t.line(w, shown, names, func(int, string) style { return strong })
	}
	for _, cells := range t.rows {
		t.line(w, shown, cells, t.style)
		t.below(w, shown, cells)
	}
	t.rows = nil
	_, err := io.WriteString(t.out, w.String())
	return err
}

// style is how a cell is shown.
func (t *table) style(i int, text string) style {
	if paint := t.cols[i].paint; paint != nil {
		return paint(text)
	}
	return plain
}

// gap is between two columns.
const gap = "  "

// fit says which columns stay in the row.
func (t *table) fit() []bool {
	shown := make([]bool, len(t.cols))
	total := -len(gap)
	for i, width := range t.widths {
		shown[i] = true
		total += len(gap) + width
	}
	for t.screen.width > 0 && total > t.screen.width {
		next := 0
		for i, c := range t.cols {
			if shown[i] {
				next = max(next, c.fold)
			}
		}
		if next == 0 {
			break // what is left cannot be shown any narrower
		}
		for i, c := range t.cols {
			if c.fold == next {
				shown[i] = false
				total -= len(gap) + t.widths[i]
			}
		}
	}
	return shown
}

// line prints those of a row's cells that stay in it, without blanks at its end.
func (t *table) line(w *strings.Builder, shown []bool, cells []string, paint func(int, string) style) {
	blanks, begun := 0, false
	for i, text := range cells {
		if !shown[i] {
			continue
		}
		if begun {
			blanks += len(gap)
		}
		begun = true
		pad := t.widths[i] - columns(text)
		if t.cols[i].right {
			blanks, pad = blanks+pad, 0
		}
		if text != "" {
			for range blanks {
				w.WriteByte(' ')
			}
			blanks = 0
			w.WriteString(t.screen.paint(paint(i, text), text))
		}
		blanks += pad
	}
	w.WriteByte('\n')
}

// below prints the other cells, those that say something, on lines of their own.
func (t *table) below(w *strings.Builder, shown []bool, cells []string) {
	var words []string
	for i, text := range cells {
		if shown[i] || slices.Contains([]string{"", "-", "0", "0s"}, text) {
			continue
		}
		label := strings.TrimLeft(t.cols[i].lead, ",;: ")
		separator := strings.TrimSpace(strings.TrimSuffix(t.cols[i].lead, label))
		if len(words) > 0 {
			words[len(words)-1] += separator
		}
		if len(gap)+columns(label)+columns(text) < t.screen.width && !strings.Contains(text, " ") {
			words = append(words, label+text) // no line ends between them
		} else {
			words = append(words, strings.Split(label+text, " ")...)
		}
	}
	if len(words) > 0 {
		w.WriteString(fillWords(t.screen.width, gap, gap, words))
		w.WriteByte('\n')
	}
}
