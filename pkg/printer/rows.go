// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"slices"

	"github.com/halfclose/halfclose/pkg/term"
)

// Rows prints items as the rows of one table.
type Rows[T any] struct {
	table *term.Table
	cells func(T) []string
	nodes bool
}

// newRows starts a table of items. cells returns the cells of an item's row, one for each column.
func newRows[T any](p *Printer, cols []term.Column, cells func(T) []string) *Rows[T] {
	if p.Nodes {
		cols = slices.Clone(cols)
		for i := range cols {
			if i == 0 || cols[i].Fold > 0 {
				cols[i].Fold++ // the node stays longest
			}
		}
		cols[0].Lead = ", "
		cols = slices.Insert(cols, 0, term.Column{Name: "NODE"})
	}
	return &Rows[T]{table: p.NewTable(cols...), cells: cells, nodes: p.Nodes}
}

// Add adds a row for each item. The node is printed only with Printer.Nodes.
func (r *Rows[T]) Add(node string, items ...T) {
	for _, item := range items {
		row := r.cells(item)
		if r.nodes {
			row = slices.Insert(row, 0, node)
		}
		r.table.Row(row...)
	}
}

// Flush prints the rows that were added since the last Flush. It prints the header first, unless the last one has the same
// columns.
func (r *Rows[T]) Flush() error { return r.table.Flush() }
