// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// table lists the pods, in so many lines with the header.
func (t *model) table(width, height int) []line {
	t.page = max(0, height-1)
	t.list.settle(t.keys(), t.page)
	last := min(len(t.rows), t.list.first+t.page)
	cols := []column{
		{name: "  POD", least: max(16, width*3/8)},
		{name: "CLOSE_WAIT", right: true},
		{name: "FIN_WAIT2", right: true, spare: 1},
		{name: "OLDEST", right: true, least: 7},
		{name: "AGES", least: 5, spare: 3},
		{name: "DESTROYED", right: true, spare: 2},
		{name: "GRACE", spare: 4},
	}
	var rows []gridRow
	for _, r := range t.rows {
		rows = append(rows, r.cells())
	}
	head, lines := grid(cols, rows, rows[t.list.first:last], width)
	if at := t.list.at - t.list.first; t.interval > 0 && at < len(lines) {
		lines[at] = lines[at].in(term.Inverse, width)
	}
	if len(t.rows) == 0 {
		lines = []line{text("  No attachment is recorded on this node.")}
	}
	return append([]line{head}, lines...)
}

// cells is the row as it is shown.
func (r row) cells() gridRow {
	mark := "  "
	if r.bad {
		mark = "! "
	}
	c := gridRow{text: []string{
		mark + r.name, strconv.Itoa(r.sockets(inetdiag.CloseWait)), strconv.Itoa(r.sockets(inetdiag.FinWait2)),
		ageCell(r.a.Oldest), miniature(r.a.Ages), r.account(), r.policy(),
	}}
	switch {
	case r.a.Inert != "":
		c.style = term.Faint
	case r.bad:
		c.style = term.Odd
	case r.total() == 0:
		c.style = term.Faint
	}
	return c
}

func ageCell(s api.Seconds) string {
	if s == 0 {
		return "-"
	}
	return describe.ShortAge(time.Duration(s))
}

// account is how many sockets were destroyed, and in brackets how many would have been.
func (r row) account() string {
	if r.a.WouldDestroy == 0 {
		return strconv.FormatUint(r.a.Destroyed, 10)
	}
	return fmt.Sprintf("%d (%d)", r.a.Destroyed, r.a.WouldDestroy)
}

// policy is the graces, with the mode where nothing is destroyed.
func (r row) policy() string {
	switch {
	case r.a.Inert != "":
		return "inert"
	case r.a.Mode == policy.Destroy:
		return describe.Graces(r.a.Policy)
	}
	return describe.Graces(r.a.Policy) + " " + describe.AttachmentMode(r.a)
}
