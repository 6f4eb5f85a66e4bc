// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term

import (
	"io"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
)

// Table prints rows in columns that fit the screen. Cells that do not fit are printed below their row, so none is lost.
// Table cleans every cell.
type Table struct {
	out    io.Writer
	screen Screen
	cols   []Column
	rows   [][]string
	widths []int  // of each column's widest cell
	header []bool // the columns of the last printed header
	bare   bool   // without headers
}

// NewTable starts a table that prints to out.
func NewTable(out io.Writer, s Screen, cols ...Column) *Table {
	t := &Table{out: out, screen: s, cols: cols, widths: make([]int, len(cols))}
	for i, c := range cols {
		t.widths[i] = Columns(c.Name)
	}
	return t
}

// WithoutHeader makes the table print no header, for scripts.
func (t *Table) WithoutHeader() { t.bare = true }

// Row adds a row, which has a cell for each column.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		cells[i] = safetext.Escape(c)
		t.widths[i] = max(t.widths[i], Columns(cells[i]))
	}
	t.rows = append(t.rows, cells)
}

// Flush prints the rows that were added since the last Flush. It prints a header first, unless the last one has the same
// columns.
func (t *Table) Flush() error {
	var b strings.Builder
	layout := fit(t.screen.Width, t.cols, t.widths)
	shown := make([]bool, len(t.cols))
	for i := range t.cols {
		shown[i] = layout.shows(i)
	}
	if !t.bare && !slices.Equal(shown, t.header) {
		t.header = shown
		b.WriteString(layout.line(layout.names(), func(_ int, text string) string { return t.screen.Paint(Strong, text) }))
		b.WriteByte('\n')
	}
	for _, cells := range t.rows {
		b.WriteString(layout.line(cells, t.paint))
		b.WriteByte('\n')
		b.WriteString(t.below(layout, cells))
	}
	t.rows = nil
	_, err := io.WriteString(t.out, b.String())
	return err
}

// paint styles a cell.
func (t *Table) paint(column int, text string) string {
	if paint := t.cols[column].Paint; paint != nil {
		return t.screen.Paint(paint(text), text)
	}
	return text
}

// below returns the lines with the cells that are not in the row, apart from empty and zero ones.
func (t *Table) below(layout Layout, cells []string) string {
	var words []string
	for i, text := range cells {
		isRepeated := t.cols[i].IsRepeated
		if layout.shows(i) || slices.Contains([]string{"", "-", "0", "0s"}, text) || isRepeated != nil && isRepeated(cells) {
			continue
		}
		label := strings.TrimLeft(t.cols[i].Lead, ",;: ")
		separator := strings.TrimSpace(strings.TrimSuffix(t.cols[i].Lead, label))
		if len(words) > 0 {
			words[len(words)-1] += separator
		}
		if len(gap)+Columns(label)+Columns(text) < t.screen.Width && !strings.Contains(text, " ") {
			words = append(words, label+text) // keeps the label and its value in one line
		} else {
			words = append(words, strings.Split(label+text, " ")...)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return fillWords(t.screen.Width, gap, gap, words) + "\n"
}
