// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// detailFacts returns the policy of the pod, its totals and its container.
func (m *model) detailFacts() []line {
	for _, r := range m.rows {
		if r.key != m.detail.key {
			continue
		}
		a := r.a
		policy := text(fmt.Sprintf("Policy    %s, grace %s in CLOSE_WAIT, %s in FIN_WAIT2",
			describe.AttachmentMode(a), a.Policy.CloseWaitGrace, a.Policy.FinWait2Grace))
		if len(a.CappedBy) > 0 {
			policy = policy.with(term.Odd, safetext.Escape(", capped by "+strings.Join(a.CappedBy, "; ")))
		}
		return []line{
			policy,
			text(fmt.Sprintf("Found     %s, oldest %s; %d destroyed, %d would have been",
				describe.Plural(r.total(), "socket", "sockets"), ageCell(a.Oldest), a.Destroyed, a.WouldDestroy)),
			text(safetext.Escape(fmt.Sprintf("Container %s, %s of network %s, %s", describe.ContainerID(a.ContainerID), a.IfName, a.Network, a.Netns))),
		}
	}
	return []line{{{"The pod is no longer registered: press Esc.", term.Odd}}}
}

func (d *detail) keys() []string {
	keys := make([]string, len(d.sockets))
	for i, v := range d.sockets {
		keys[i] = strconv.FormatUint(v.Cookie, 10)
	}
	return keys
}

// lines lists the pod's sockets in height lines, with the details of the selected one.
func (d *detail) lines(width, height int) []line {
	if len(d.sockets) == 0 {
		word := "  This pod has no half-closed sockets."
		if !d.loaded {
			word = "  Loading its sockets ..."
		}
		return []line{text(word)}
	}
	keys := d.keys()
	d.page = max(0, height-1)
	var selected []line
	if height >= 9 {
		d.list.locate(keys, d.page)
		selected = d.socketLines(d.sockets[d.list.index], width)
		d.page -= len(selected) + 1
	}
	d.list.locate(keys, d.page)
	last := min(len(keys), d.list.first+d.page)
	var rows [][]string
	for _, v := range d.sockets[d.list.first:last] {
		rows = append(rows, d.cells(v))
	}
	address := min(len("255.255.255.255:65535"), max(8, (width-11)/2))
	layout := term.NewLayout(width, []term.Column{
		{Name: "LOCAL", Least: address},
		{Name: "PEER", Least: address},
		{Name: "STATE", Fold: 2},
		{Name: "AGE", Right: true},
		{Name: "IDLE", Right: true, Fold: 5},
		{Name: "RECV-Q", Right: true, Fold: 6},
		{Name: "SEND-Q", Right: true, Fold: 7},
		{Name: "VERDICT", Fold: 1},
		{Name: "OWNERS", Fold: 8},
	}, rows)
	lines := []line{{{layout.Header(), term.Strong}}}
	for i, cells := range rows {
		l := text(layout.Line(cells))
		if i == d.list.index-d.list.first {
			l = l.in(term.Inverse, width)
		}
		lines = append(lines, l)
	}
	if len(selected) > 0 {
		for len(lines) < height-len(selected) {
			lines = append(lines, line{})
		}
		lines = append(lines, selected...)
	}
	return lines
}

func (d *detail) cells(v api.SocketView) []string {
	age := func(s *api.Seconds) string {
		if s == nil {
			return "-"
		}
		return describe.Age(*s)
	}
	return []string{
		safetext.Escape(v.Local), safetext.Escape(v.Peer), v.State.String(), age(v.Age), age(v.Idle),
		strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), d.ownerNames(v),
	}
}

// ownerNames lists the processes that own a socket, as of the last answer with owners.
func (d *detail) ownerNames(v api.SocketView) string {
	return safetext.Escape(describe.Owners(d.owners[v.Cookie]))
}

// socketLines returns the details of one socket.
func (d *detail) socketLines(v api.SocketView, width int) []line {
	queues := fmt.Sprintf("RECV-Q %d, SEND-Q %d, uid %d, inode %d, cookie %d",
		v.RQueue, v.WQueue, v.UID, v.Inode, v.Cookie)
	left := ""
	if v.Deadline != nil && *v.Deadline > 0 {
		left = ", " + describe.Age(*v.Deadline) + " to go"
	}
	owners := "no owner found yet"
	if d.ownerNames(v) != "-" {
		owners = "held by " + d.ownerNames(v)
	}
	return []line{
		{{strings.Repeat("─", max(0, width)), term.Faint}},
		line{{safetext.Escape(v.Local + " from " + v.Peer), term.Strong}}.with(term.Plain, "  "+v.State.String()),
		text(safetext.Escape(v.Verdict.String() + ": " + v.Why + left)),
		text(owners),
		text(queues),
	}
}
