// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// roleOf returns the role that the programs have read from the socket itself.
func roleOf(s *bpf.Socket) policy.Role {
	switch s.Opened {
	case bpf.OpenedHere:
		return policy.RoleClient
	case bpf.OpenedByPeer:
		return policy.RoleServer
	}
	return policy.RoleUnknown
}

// roles has the roles of a dump's connections. The key includes the addresses, because a socket that connects again keeps its
// cookie.
type roles map[inetdiag.ID]policy.Role

// roleLookup finds the roles of the sockets of one dump by their listeners. Each connection costs one lookup: a socket of the
// dump before keeps its role, even after its listener has closed.
type roleLookup struct {
	opener        Opener
	netns         Netns
	off           bool // no lookups
	before, after roles
	conn          *inetdiag.Conn // another one than the dump's; nil until the first lookup
	failed        bool           // no more lookups
	ids           []inetdiag.ID
	index         []int // of each of ids in the batch
}

// decide sets the role of each socket that a process owns and that has a listener.
func (l *roleLookup) decide(batch []Seen) {
	if l.off {
		return
	}
	l.ids, l.index = l.ids[:0], l.index[:0]
	for i := range batch {
		id := batch[i].Socket.ID
		if batch[i].Socket.Inode == 0 {
			continue // no process owns it, so no verdict needs its role
		}
		if role, known := l.before[id]; known {
			l.set(&batch[i], role)
		} else {
			l.ids, l.index = append(l.ids, id), append(l.index, i)
		}
	}
	if len(l.ids) == 0 || !l.open() {
		return
	}
	err := l.conn.HasListenerAll(l.ids, func(i int, has bool, err error) {
		switch {
		case err != nil: // retried in the next dump
		case has:
			l.set(&batch[l.index[i]], policy.RoleServer)
		default:
			l.set(&batch[l.index[i]], policy.RoleUnknown)
		}
	})
	l.failed = err != nil
}

func (l *roleLookup) set(s *Seen, role policy.Role) {
	if l.after == nil {
		l.after = make(roles, len(l.before))
	}
	l.after[s.Socket.ID], s.Role = role, role
}

// open reports whether there is a connection to look up listeners with.
func (l *roleLookup) open() bool {
	if l.conn == nil && !l.failed {
		conn, err := l.opener.Open(l.netns)
		l.conn, l.failed = conn, err != nil
	}
	return !l.failed
}

// finish ends the lookups, and returns the roles for the next dump. After an incomplete dump these include the roles of the
// dump before.
func (l *roleLookup) finish(complete bool) roles {
	if l.conn != nil {
		l.conn.Close() // it pins the network namespace
	}
	if complete {
		return l.after
	}
	for id, role := range l.before {
		if l.after == nil {
			return l.before
		}
		if _, known := l.after[id]; !known {
			l.after[id] = role
		}
	}
	return l.after
}
