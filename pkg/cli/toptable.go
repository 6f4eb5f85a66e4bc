// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// table lists the pods, in so many lines with the header.
func (t *top) table(width, height int) []topLine {
	t.page = max(0, height-1)
	t.list.settle(t.keys(), t.page)
	last := min(len(t.rows), t.list.first+t.page)
	cols := []gridColumn{
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
		lines[at] = lines[at].in(inverse, width)
	}
	if len(t.rows) == 0 {
		lines = []topLine{topText("  No attachment is recorded on this node.")}
	}
	return append([]topLine{head}, lines...)
}

// cells is the row as it is shown.
func (r topRow) cells() gridRow {
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
		c.style = faint
	case r.bad:
		c.style = odd
	case r.total() == 0:
		c.style = faint
	}
	return c
}

func ageCell(s api.Seconds) string {
	if s == 0 {
		return "-"
	}
	return shortAge(time.Duration(s))
}

// account is how many sockets were destroyed, and in brackets how many would have been.
func (r topRow) account() string {
	if r.a.WouldDestroy == 0 {
		return strconv.FormatUint(r.a.Destroyed, 10)
	}
	return fmt.Sprintf("%d (%d)", r.a.Destroyed, r.a.WouldDestroy)
}

// policy is the graces, with the mode where nothing is destroyed.
func (r topRow) policy() string {
	switch {
	case r.a.Inert != "":
		return "inert"
	case r.a.Mode == policy.Destroy:
		return graces(r.a.Policy)
	}
	return graces(r.a.Policy) + " " + attachmentMode(r.a)
}
