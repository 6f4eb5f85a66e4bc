// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// topRow is one container with its sockets. Its attachments share them.
type topRow struct {
	key  string
	name string
	a    api.AttachmentView
	bad  bool // there is something wrong
}

// topRows makes a row of each container's attachments in a namespace.
func topRows(s api.Status) []topRow {
	rows := make([]topRow, 0, len(s.Attachments))
	seen := make(map[string]int, len(s.Attachments))
	for _, a := range s.Attachments {
		key := a.ContainerID + " " + a.Netns
		bad := a.Inert != "" || a.Problem != "" || len(a.Warnings) > 0
		if i, ok := seen[key]; ok {
			rows[i].bad = rows[i].bad || bad
			continue
		}
		seen[key] = len(rows)
		rows = append(rows, topRow{key: key, name: clean(topName(a)), a: a, bad: bad})
	}
	return rows
}

// topName names an attachment: what somebody has chosen a name for is not cut.
func topName(a api.AttachmentView) string {
	if a.Network == state.ManualNetwork {
		return a.ContainerID
	}
	return podName(a.Pod, a.ContainerID)
}

func (r topRow) sockets(s inetdiag.State) int { return r.a.Candidates[s.String()] }

func (r topRow) total() int { return r.sockets(inetdiag.CloseWait) + r.sockets(inetdiag.FinWait2) }

// ended is what is shown of the account of what has been destroyed.
func (r topRow) ended() uint64 { return r.a.Destroyed + r.a.WouldDestroy }

// topOrder is what the rows are sorted by, the most of it first.
type topOrder int

// The orders.
const (
	byCount topOrder = iota
	byAge
	byDestroyed
)

// topOrders lists the topOrders with the key and the word for each.
func topOrders() []struct {
	key  topKey
	word string
} {
	return []struct {
		key  topKey
		word string
	}{byCount: {"c", "count"}, byAge: {"a", "age"}, byDestroyed: {"d", "destroyed"}}
}

func topOrderOf(k topKey) (topOrder, bool) {
	for i, o := range topOrders() {
		if o.key == k {
			return topOrder(i), true
		}
	}
	return 0, false
}

// compare compares two rows: the more of what is sorted by, then the more sockets, then the older, then the
// name, so that rows change places only for a reason.
func (o topOrder) compare(a, b topRow) int {
	count, age, ended := cmp.Compare(b.total(), a.total()), cmp.Compare(b.a.Oldest, a.a.Oldest), cmp.Compare(b.ended(), a.ended())
	inert := cmp.Compare(len(a.a.Inert), 0) - cmp.Compare(len(b.a.Inert), 0) // last
	rest := cmp.Or(inert, cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
	switch o {
	case byAge:
		return cmp.Or(age, count, rest)
	case byDestroyed:
		return cmp.Or(ended, count, age, rest)
	case byCount:
	}
	return cmp.Or(count, age, rest)
}
