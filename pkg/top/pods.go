// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// row is one container with its sockets. Its attachments share them.
type row struct {
	key  string
	name string
	a    api.AttachmentView
	bad  bool // one of its attachments has a problem
}

// newRows returns one row for each container and namespace.
func newRows(s api.Status) []row {
	rows := make([]row, 0, len(s.Attachments))
	seen := make(map[string]int, len(s.Attachments))
	for _, a := range s.Attachments {
		key := a.ContainerID + " " + a.Netns
		bad := describe.HasProblem(&a)
		if i, ok := seen[key]; ok {
			rows[i].bad = rows[i].bad || bad
			continue
		}
		seen[key] = len(rows)
		rows = append(rows, row{key: key, name: safetext.Escape(rowName(a)), a: a, bad: bad})
	}
	return rows
}

// rowName returns the name of an attachment. A name that an operator chose is not shortened.
func rowName(a api.AttachmentView) string {
	if a.Pod.Name == "" && a.Network == state.ManualNetwork {
		return a.ContainerID
	}
	return describe.Pod(a.Pod, a.ContainerID)
}

func (r row) sockets(s inetdiag.State) int { return r.a.Candidates[s.String()] }

func (r row) total() int { return r.sockets(inetdiag.CloseWait) + r.sockets(inetdiag.FinWait2) }

// podOrders are the orders of the pods, largest first. The rest is always the same, inert pods last, so that equal rows
// stay in place.
func podOrders() []order[row] {
	count := func(a, b row) int { return cmp.Compare(b.total(), a.total()) }
	age := func(a, b row) int { return cmp.Compare(b.a.Oldest, a.a.Oldest) }
	destroyed := func(a, b row) int {
		return cmp.Compare(b.a.Destroyed+b.a.WouldDestroy, a.a.Destroyed+a.a.WouldDestroy)
	}
	rest := func(a, b row) int {
		inert := cmp.Compare(len(a.a.Inert), 0) - cmp.Compare(len(b.a.Inert), 0)
		return cmp.Or(inert, cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
	}
	return []order[row]{
		{"count", func(a, b row) int { return cmp.Or(count(a, b), age(a, b), rest(a, b)) }},
		{"age", func(a, b row) int { return cmp.Or(age(a, b), count(a, b), rest(a, b)) }},
		{"destroyed", func(a, b row) int { return cmp.Or(destroyed(a, b), count(a, b), age(a, b), rest(a, b)) }},
		{"name", rest},
	}
}

// Orders lists the names of the orders of the pods.
func Orders() []string {
	var words []string
	for _, o := range podOrders() {
		words = append(words, o.word)
	}
	return words
}

// podSpec describes the list of pods. Its column of observed sockets is there only if a pod has some.
func (m *model) podSpec() spec[row] {
	const beforeGrace = 6
	return spec[row]{
		columns: func(width int) []term.Column {
			columns := []term.Column{
				{Name: "  POD", Least: min(36, max(16, width*3/8))},
				{Name: "CLOSE_WAIT", Right: true},
				{Name: "FIN_WAIT2", Right: true, Fold: 1},
				{Name: "OLDEST", Right: true, Least: 7},
				{Name: "AGES", Least: 5, Fold: 4},
				{Name: "DESTROYED", Right: true, Fold: 3},
				{Name: "GRACE", Fold: 5},
			}
			if m.observed {
				columns = slices.Insert(columns, beforeGrace, term.Column{Name: "WOULD-DESTROY", Right: true, Fold: 2})
			}
			return columns
		},
		cells: func(r row) []string {
			mark := map[bool]string{false: "  ", true: "! "}[r.bad]
			cells := []string{
				mark + r.name, strconv.Itoa(r.sockets(inetdiag.CloseWait)), strconv.Itoa(r.sockets(inetdiag.FinWait2)), ageCell(r.a.Oldest),
				miniature(r.a.Ages), strconv.FormatUint(r.a.Destroyed, 10), r.graceCell(),
			}
			if m.observed {
				cells = slices.Insert(cells, beforeGrace, strconv.FormatUint(r.a.WouldDestroy, 10))
			}
			return cells
		},
		key:       func(r row) string { return r.key },
		namespace: func(r row) string { return r.a.Pod.Namespace },
		style:     row.style,
		orders:    podOrders(),
		empty:     "  No attachment is registered on this node.",
	}
}

// style returns the look of the row: rows with a problem stand out, rows without sockets are faint.
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
