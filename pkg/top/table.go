// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strconv"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// table lists the pods in height lines, with a header.
func (m *model) table(width, height int) []line {
	m.page = max(0, height-1)
	m.list.locate(m.keys(), m.page)
	last := min(len(m.rows), m.list.first+m.page)
	var rows [][]string
	for _, r := range m.rows {
		rows = append(rows, r.cells())
	}
	layout := term.NewLayout(width, []term.Column{
		{Name: "  POD", Least: max(16, width*3/8)},
		{Name: "CLOSE_WAIT", Right: true},
		{Name: "FIN_WAIT2", Right: true, Fold: 1},
		{Name: "OLDEST", Right: true, Least: 7},
		{Name: "AGES", Least: 5, Fold: 3},
		{Name: "DESTROYED", Right: true, Fold: 2},
		{Name: "GRACE", Fold: 4},
	}, rows)
	lines := []line{{{layout.Header(), term.Strong}}}
	for i := m.list.first; i < last; i++ {
		l := line{{layout.Line(rows[i]), m.rows[i].style()}}
		if i == m.list.index && m.interval > 0 {
			l = l.in(term.Inverse, width)
		}
		lines = append(lines, l)
	}
	if len(m.rows) == 0 {
		lines = append(lines, text("  No attachment is registered on this node."))
	}
	return lines
}

// cells returns the row's text for each column.
func (r row) cells() []string {
	mark := "  "
	if r.bad {
		mark = "! "
	}
	return []string{
		mark + r.name, strconv.Itoa(r.sockets(inetdiag.CloseWait)), strconv.Itoa(r.sockets(inetdiag.FinWait2)),
		ageCell(r.a.Oldest), miniature(r.a.Ages), r.destroyedCell(), r.graceCell(),
	}
}

// style returns the look of the row: rows with a problem stand out, rows without sockets step back.
func (r row) style() term.Style {
	switch {
	case r.a.Inert != "":
		return term.Faint
	case r.bad:
		return term.Odd
	case r.total() == 0:
		return term.Faint
	}
	return term.Plain
}

func ageCell(s api.Seconds) string {
	if s == 0 {
		return "-"
	}
	return describe.Age(s)
}

// destroyedCell returns the number of destroyed sockets, and in brackets the number of observed ones.
func (r row) destroyedCell() string {
	if r.a.WouldDestroy == 0 {
		return strconv.FormatUint(r.a.Destroyed, 10)
	}
	return fmt.Sprintf("%d (%d)", r.a.Destroyed, r.a.WouldDestroy)
}

// graceCell returns the graces, with the mode if it is not destroy.
func (r row) graceCell() string {
	switch {
	case r.a.Inert != "":
		return "inert"
	case r.a.Mode == policy.Destroy:
		return describe.Graces(r.a.Policy)
	}
	return describe.Graces(r.a.Policy) + " " + describe.AttachmentMode(r.a)
}
