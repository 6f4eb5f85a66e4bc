// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term

import (
	"io"
	"slices"
	"strings"
)

// Column is one column of a table.
type Column struct {
	Name  string
	Right bool // aligned right, as numbers are
	// Fold orders the columns that leave a row that is wider than the screen, for the lines below it: the highest
	// first, columns of the same together, and 0 never.
	Fold int
	// Lead comes before the value there: what separates it from the value before, and what it is.
	Lead  string
	Paint func(text string) Style // nil: Plain
}

// Table prints rows of cells in columns that fit the screen: what a row has no room for is below it, and
// nothing is cut. Every cell is made harmless first: names come from pods.
type Table struct {
	out    io.Writer
	screen Screen
	cols   []Column
	rows   [][]string
	widths []int  // of each column, as wide as its widest cell
	header []bool // which columns the header that was printed last has
}

// NewTable starts a table that prints to out.
func NewTable(out io.Writer, s Screen, cols ...Column) *Table {
	t := &Table{out: out, screen: s, cols: cols, widths: make([]int, len(cols))}
	for i, c := range cols {
		t.widths[i] = Columns(c.Name)
	}
	return t
}

// Row adds a row, which has a cell for each column.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		cells[i] = Clean(c)
		t.widths[i] = max(t.widths[i], Columns(cells[i]))
	}
	t.rows = append(t.rows, cells)
}

// Flush prints the rows that were added since the last Flush, below a header if there is none yet that has
// the same columns.
func (t *Table) Flush() error {
	w := new(strings.Builder)
	shown := t.fit()
	if !slices.Equal(shown, t.header) {
		t.header = shown
		names := make([]string, len(t.cols))
		for i, c := range t.cols {
			names[i] = c.Name
		}
		t.line(w, shown, names, func(int, string) Style { return Strong })
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
func (t *Table) style(i int, text string) Style {
	if paint := t.cols[i].Paint; paint != nil {
		return paint(text)
	}
	return Plain
}

// Gap is between two columns of a table.
const Gap = "  "

// fit says which columns stay in the row.
func (t *Table) fit() []bool {
	shown := make([]bool, len(t.cols))
	total := -len(Gap)
	for i, width := range t.widths {
		shown[i] = true
		total += len(Gap) + width
	}
	for t.screen.Width > 0 && total > t.screen.Width {
		next := 0
		for i, c := range t.cols {
			if shown[i] {
				next = max(next, c.Fold)
			}
		}
		if next == 0 {
			break // what is left cannot be shown any narrower
		}
		for i, c := range t.cols {
			if c.Fold == next {
				shown[i] = false
				total -= len(Gap) + t.widths[i]
			}
		}
	}
	return shown
}

// line prints those of a row's cells that stay in it, without blanks at its end.
func (t *Table) line(w *strings.Builder, shown []bool, cells []string, paint func(int, string) Style) {
	blanks, begun := 0, false
	for i, text := range cells {
		if !shown[i] {
			continue
		}
		if begun {
			blanks += len(Gap)
		}
		begun = true
		pad := t.widths[i] - Columns(text)
		if t.cols[i].Right {
			blanks, pad = blanks+pad, 0
		}
		if text != "" {
			for range blanks {
				w.WriteByte(' ')
			}
			blanks = 0
			w.WriteString(t.screen.Paint(paint(i, text), text))
		}
		blanks += pad
	}
	w.WriteByte('\n')
}

// below prints the other cells, those that say something, on lines of their own.
func (t *Table) below(w *strings.Builder, shown []bool, cells []string) {
	var words []string
	for i, text := range cells {
		if shown[i] || slices.Contains([]string{"", "-", "0", "0s"}, text) {
			continue
		}
		label := strings.TrimLeft(t.cols[i].Lead, ",;: ")
		separator := strings.TrimSpace(strings.TrimSuffix(t.cols[i].Lead, label))
		if len(words) > 0 {
			words[len(words)-1] += separator
		}
		if len(Gap)+Columns(label)+Columns(text) < t.screen.Width && !strings.Contains(text, " ") {
			words = append(words, label+text) // no line ends between them
		} else {
			words = append(words, strings.Split(label+text, " ")...)
		}
	}
	if len(words) > 0 {
		w.WriteString(fillWords(t.screen.Width, Gap, Gap, words))
		w.WriteByte('\n')
	}
}
