// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/term"
)

// spec describes the rows of a kind of list.
type spec[T any] struct {
	columns   func(width int) []term.Column
	cells     func(T) []string // clean text for each column
	key       func(T) string
	namespace func(T) string        // the Kubernetes namespace of a row; nil if a list is of one pod
	style     func(T) term.Style    // nil: Plain
	orders    []order[T]            // the first is the default; none: the order of the rows
	detail    func(T, int) []string // the lines below the list about the selected row, nil if none
	empty     string                // shown without a row
}

// order is a sort order.
type order[T any] struct {
	word    string
	compare func(a, b T) int
}

// lister is a list of any kind.
type lister interface {
	move(by int)
	sortNext()
	reverse()
	rows() int
	filtered() string
	setFilter(text string)
	setNamespace(name string)
	sorted() string
	table(width, height int) []string
	position() string
}

// list shows rows that can be sorted, filtered and selected. The selection follows its row to other places. Until the
// operator moves it, it stays on the first row.
type list[T any] struct {
	spec[T]
	all, shown []T // shown are the rows that match the filters, in order

	order         int
	reversed      bool
	filter, inNS  string
	selected      string // the key; "" is the first row, whatever its key
	index         int
	first, height int // the first visible row, and the number of them
}

// set replaces the rows.
func (l *list[T]) set(rows []T) {
	l.all = rows
	l.apply()
}

// apply sorts and filters the rows, and finds the selected one among them.
func (l *list[T]) apply() {
	words := strings.Fields(strings.ToLower(l.filter))
	l.shown = nil
	for _, row := range l.all {
		text := ""
		if len(words) > 0 {
			text = strings.ToLower(strings.Join(l.cells(row), " "))
		}
		if (l.inNS == "" || l.namespace == nil || l.namespace(row) == l.inNS) &&
			!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
			l.shown = append(l.shown, row)
		}
	}
	if len(l.orders) > 0 {
		slices.SortStableFunc(l.shown, l.orders[l.order].compare)
	}
	if l.reversed {
		slices.Reverse(l.shown)
	}
	at := slices.IndexFunc(l.shown, func(row T) bool { return l.key(row) == l.selected })
	switch {
	case l.selected == "":
		l.index = 0
	case at >= 0:
		l.index = at
	}
	l.index = max(0, min(l.index, len(l.shown)-1)) // if the row has gone, its successor is selected
}

// current returns the selected row, and reports whether there is one.
func (l *list[T]) current() (row T, ok bool) {
	if l.index >= len(l.shown) {
		return row, false
	}
	return l.shown[l.index], true
}

func (l *list[T]) move(by int) {
	if len(l.shown) == 0 {
		return
	}
	l.index = max(0, min(l.index+by, len(l.shown)-1))
	l.selected = l.key(l.shown[l.index])
	if l.index == 0 {
		l.selected = ""
	}
}

func (l *list[T]) sortNext() {
	l.order = (l.order + 1) % max(1, len(l.orders))
	l.apply()
}

func (l *list[T]) reverse() {
	l.reversed = !l.reversed
	l.apply()
}

// rows returns the number of rows that the screen has room for.
func (l *list[T]) rows() int { return l.height }

func (l *list[T]) filtered() string { return l.filter }

func (l *list[T]) setFilter(text string) {
	l.filter = text
	l.apply()
}

func (l *list[T]) setNamespace(name string) {
	l.inNS = name
	l.apply()
}

// sorted returns the name of the order, "" if the list has only one.
func (l *list[T]) sorted() string {
	if len(l.orders) == 0 {
		return ""
	}
	return l.orders[l.order].word + map[bool]string{true: " reversed"}[l.reversed]
}

// position returns the visible rows and the number of matching ones, or "" if all rows are visible.
func (l *list[T]) position() string {
	text := ""
	if len(l.shown) > l.height {
		text = fmt.Sprintf("%d-%d/", l.first+1, min(l.first+l.height, len(l.shown)))
	}
	if len(l.shown) < len(l.all) {
		return fmt.Sprintf("%s%d of %d", text, len(l.shown), len(l.all))
	}
	if text != "" {
		text += fmt.Sprint(len(l.shown))
	}
	return text
}

// minDetailHeight is the height of a list below which the detail of the selected row is left out.
const minDetailHeight = 9

// table draws the list in height lines, with a header and the selected row marked; 0 is all rows, with none selected.
func (l *list[T]) table(width, height int) []string {
	if len(l.shown) == 0 {
		text := l.empty
		if len(l.all) > 0 {
			text = "  No row matches the filter: press Esc to clear it."
		}
		return strings.Split(term.Fill(width, "", "  ", text), "\n")
	}
	var detail []string
	if row, ok := l.current(); ok && l.detail != nil && height >= minDetailHeight {
		detail = append([]string{term.Faint.Paint(strings.Repeat("─", max(0, width)))}, l.detail(row, width)...)
	}
	names := l.columns(width)
	headers := 0
	if names[0].Name != "" {
		headers = 1
	}
	l.height = max(1, height-headers-len(detail))
	if height == 0 {
		l.height = len(l.shown)
	}
	l.first = min(l.first, l.index, max(0, len(l.shown)-l.height)) // scrolls as little as possible
	l.first = max(l.first, l.index-l.height+1, 0)
	visible := l.shown[l.first:min(len(l.shown), l.first+l.height)]
	cells := make([][]string, len(visible))
	for i, row := range visible {
		cells[i] = l.cells(row)
	}
	layout := term.NewLayout(width, names, cells)
	lines := []string{term.Strong.Paint(layout.Header())}[:headers]
	for i, row := range visible {
		style := term.Plain
		if l.style != nil {
			style = l.style(row)
		}
		text := layout.Line(cells[i])
		if height > 0 && headers > 0 && l.first+i == l.index {
			style, text = term.Inverse, term.Pad(text, width)
		}
		lines = append(lines, style.Paint(text))
	}
	if len(detail) > 0 {
		lines = append(lines, make([]string, max(0, height-len(lines)-len(detail)))...)
	}
	return append(lines, detail...)
}
