// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// detailFacts are the policy of the pod, its totals and its container.
func (t *model) detailFacts() []line {
	for _, r := range t.rows {
		if r.key != t.detail.key {
			continue
		}
		a := r.a
		policy := text(fmt.Sprintf("Policy    %s, grace %s in CLOSE_WAIT, %s in FIN_WAIT2",
			describe.AttachmentMode(a), a.Policy.CloseWaitGrace, a.Policy.FinWait2Grace))
		if len(a.CappedBy) > 0 {
			policy = policy.with(term.Odd, term.Clean(", capped by "+strings.Join(a.CappedBy, "; ")))
		}
		return []line{
			policy,
			text(fmt.Sprintf("Found     %s, oldest %s; %d destroyed, %d would have been",
				describe.Plural(r.total(), "socket", "sockets"), ageCell(a.Oldest), a.Destroyed, a.WouldDestroy)),
			text(term.Clean(fmt.Sprintf("Container %s, %s of network %s, %s", describe.ContainerID(a.ContainerID), a.IfName, a.Network, a.Netns))),
		}
	}
	return []line{{{"It is not registered any more: press Esc.", term.Odd}}}
}

func (d *detail) keys() []string {
	keys := make([]string, len(d.sockets))
	for i, v := range d.sockets {
		keys[i] = strconv.FormatUint(v.Cookie, 10)
	}
	return keys
}

// lines lists the pod's sockets in height lines, with everything about the chosen one.
func (d *detail) lines(width, height int) []line {
	if len(d.sockets) == 0 {
		word := "  No socket of it is half-closed."
		if !d.loaded {
			word = "  Asking for its sockets ..."
		}
		return []line{text(word)}
	}
	keys := d.keys()
	d.page = max(0, height-1)
	var chosen []line
	if height >= 9 {
		d.list.locate(keys, d.page)
		chosen = d.chosen(d.sockets[d.list.at], width)
		d.page -= len(chosen) + 1
	}
	d.list.locate(keys, d.page)
	last := min(len(keys), d.list.first+d.page)
	var rows []gridRow
	for _, v := range d.sockets[d.list.first:last] {
		rows = append(rows, d.cells(v))
	}
	address := min(len("255.255.255.255:65535"), max(8, (width-11)/2))
	cols := []column{
		{name: "LOCAL", least: address},
		{name: "PEER", least: address},
		{name: "STATE", spare: 2},
		{name: "AGE", right: true},
		{name: "IDLE", right: true, spare: 5},
		{name: "RECV-Q", right: true, spare: 6},
		{name: "SEND-Q", right: true, spare: 7},
		{name: "VERDICT", spare: 1},
		{name: "OWNERS", spare: 8},
	}
	head, lines := grid(cols, rows, rows, width)
	if i := d.list.at - d.list.first; i < len(lines) {
		lines[i] = lines[i].in(term.Inverse, width)
	}
	lines = append([]line{head}, lines...)
	if len(chosen) > 0 {
		for len(lines) < height-len(chosen) {
			lines = append(lines, line{})
		}
		lines = append(lines, chosen...)
	}
	return lines
}

func (d *detail) cells(v api.SocketView) gridRow {
	seconds := func(s *api.Seconds) string {
		if s == nil {
			return "-"
		}
		return describe.ShortAge(time.Duration(*s))
	}
	return gridRow{text: []string{
		term.Clean(v.Local), term.Clean(v.Peer), v.State.String(), seconds(v.Age), seconds(v.Idle),
		strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), d.ownerNames(v),
	}}
}

// ownerNames lists the processes that hold a socket, as of the last request for owners.
func (d *detail) ownerNames(v api.SocketView) string {
	return term.Clean(describe.Owners(d.owners[v.Cookie]))
}

// chosen is everything about one socket.
func (d *detail) chosen(v api.SocketView, width int) []line {
	queues := fmt.Sprintf("RECV-Q %d, SEND-Q %d, uid %d, inode %d, cookie %d",
		v.RQueue, v.WQueue, v.UID, v.Inode, v.Cookie)
	left := ""
	if v.Deadline != nil && *v.Deadline > 0 {
		left = ", " + describe.ShortAge(time.Duration(*v.Deadline)) + " to go"
	}
	owners := "nobody has been found to hold it yet"
	if d.ownerNames(v) != "-" {
		owners = "held by " + d.ownerNames(v)
	}
	return []line{
		{{strings.Repeat("─", max(0, width)), term.Faint}},
		line{{term.Clean(v.Local + " from " + v.Peer), term.Strong}}.with(term.Plain, "  "+v.State.String()),
		text(term.Clean(v.Verdict.String() + ": " + v.Why + left)),
		text(owners),
		text(queues),
	}
}
