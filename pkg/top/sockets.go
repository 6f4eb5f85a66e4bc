// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/term"
)

// podView is the data of one pod.
type podView struct {
	key      string
	query    string // a container ID
	sockets  []api.SocketView
	problems []string
	loaded   bool
	owners   map[uint64][]owners.Process // by cookie
	ownersAt time.Time                   // when the owners were loaded
}

func (p *podView) update(a answer) {
	if p.loaded = true; a.owners || len(a.sockets.Problems) > 0 {
		p.problems = a.sockets.Problems
	}
	p.sockets = a.sockets.Sockets
	if a.owners {
		p.ownersAt, p.owners = a.at, make(map[uint64][]owners.Process)
	}
	for i, v := range p.sockets {
		if a.owners {
			p.owners[v.Cookie] = v.Owners
		}
		p.sockets[i].Owners = p.owners[v.Cookie]
	}
}

// socketSpec describes the list of the sockets of one pod.
func socketSpec() spec[api.SocketView] {
	older := func(a, b *api.Seconds) int { return cmp.Compare(orUnknown(b), orUnknown(a)) }
	rest := func(a, b api.SocketView) int {
		return cmp.Or(older(a.Age, b.Age), cmp.Compare(a.Local, b.Local), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Cookie, b.Cookie))
	}
	return spec[api.SocketView]{
		columns: func(width int) []term.Column {
			address := min(len("255.255.255.255:65535"), max(8, (width-11)/2))
			return []term.Column{
				{Name: "LOCAL", Least: address},
				{Name: "PEER", Least: address},
				{Name: "STATE", Fold: 2},
				{Name: "AGE", Right: true},
				{Name: "IDLE", Right: true, Fold: 5},
				{Name: "RECV-Q", Right: true, Fold: 6},
				{Name: "SEND-Q", Right: true, Fold: 7},
				{Name: "VERDICT", Fold: 1},
				{Name: "OWNERS", Fold: 8},
			}
		},
		cells: func(v api.SocketView) []string {
			return []string{
				safetext.Escape(v.Local), safetext.Escape(v.Peer), v.State.String(), orDash(v.Age), orDash(v.Idle),
				strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), ownerNames(v.Owners),
			}
		},
		key: func(v api.SocketView) string { return strconv.FormatUint(v.Cookie, 10) },
		orders: []order[api.SocketView]{
			{"age", rest},
			{"idle", func(a, b api.SocketView) int { return cmp.Or(older(a.Idle, b.Idle), rest(a, b)) }},
			{"unread", func(a, b api.SocketView) int { return cmp.Or(cmp.Compare(b.RQueue, a.RQueue), rest(a, b)) }},
			{"verdict", func(a, b api.SocketView) int {
				return cmp.Or(cmp.Compare(a.Verdict.String(), b.Verdict.String()), rest(a, b))
			}},
			{"peer", func(a, b api.SocketView) int { return cmp.Or(cmp.Compare(a.Peer, b.Peer), rest(a, b)) }},
		},
		detail: socketLines,
		empty:  "  This pod has no half-closed sockets.",
	}
}

// orUnknown returns a time that sorts an unknown one behind all others.
func orUnknown(s *api.Seconds) api.Seconds {
	if s == nil {
		return -1
	}
	return *s
}

func orDash(s *api.Seconds) string {
	if s == nil {
		return "-"
	}
	return describe.Age(*s)
}

// ownerNames lists the processes that own a socket.
func ownerNames(list []owners.Process) string { return safetext.Escape(describe.Owners(list)) }

// socketLines returns the details of one socket.
func socketLines(v api.SocketView, width int) []string {
	why := v.Verdict.String() + ": " + strings.TrimPrefix(v.Why, v.Verdict.String()+": ") // some reasons name the verdict
	if v.Deadline != nil && *v.Deadline > 0 {
		why += ", " + describe.Age(*v.Deadline) + " to go"
	}
	held := "no owner found yet"
	if len(v.Owners) > 0 {
		held = "held by " + ownerNames(v.Owners)
	}
	if asked := describe.Asked(v); asked != "-" {
		held += "; peer: " + asked
	}
	lines := []string{term.Strong.Paint(safetext.Escape(v.Local+" from "+v.Peer)) + "  " + v.State.String()}
	lines = append(lines, wrapped(width, safetext.Escape(why))...)
	lines = append(lines, wrapped(width, safetext.Escape(held))...)
	return append(lines, fmt.Sprintf("RECV-Q %d, SEND-Q %d, uid %d, inode %d, cookie %d", v.RQueue, v.WQueue, v.UID, v.Inode, v.Cookie))
}

func wrapped(width int, text string) []string {
	return strings.Split(term.Fill(width, "", "  ", text), "\n")
}

// tally is a name with the number of sockets that have it.
type tally struct {
	name string
	n    int
}

// tallies counts the sockets by name, the most first.
func tallies(sockets []api.SocketView, names func(api.SocketView) []string) []tally {
	counts := make(map[string]int)
	for _, v := range sockets {
		for _, name := range names(v) {
			counts[name]++
		}
	}
	list := make([]tally, 0, len(counts))
	for name, n := range counts {
		list = append(list, tally{name, n})
	}
	slices.SortFunc(list, func(a, b tally) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.name, b.name)) })
	return list
}

// The names by which sockets are counted.
func byVerdict(v api.SocketView) []string { return []string{v.Verdict.String()} }

func byOwner(v api.SocketView) []string {
	var names []string
	for _, p := range v.Owners {
		names = append(names, ownerNames([]owners.Process{p}))
	}
	return names
}

func byLocalPort(v api.SocketView) []string {
	if a, err := netip.ParseAddrPort(v.Local); err == nil {
		return []string{strconv.Itoa(int(a.Port()))}
	}
	return []string{safetext.Escape(v.Local)}
}

func byPeer(v api.SocketView) []string {
	if a, err := netip.ParseAddrPort(v.Peer); err == nil {
		return []string{a.Addr().String()}
	}
	return []string{safetext.Escape(v.Peer)}
}
