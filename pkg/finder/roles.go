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

// roles are those of the connections that a dump has shown. The key has the addresses too: a socket that connects
// again keeps its cookie.
type roles map[inetdiag.ID]policy.Role

// roleLookup tells the roles of the sockets of one dump by their listeners. Each connection costs a look-up once: what
// the dump before has shown keeps its role, so that it does not matter when the listener closes.
type roleLookup struct {
	opener        Opener
	netns         Netns
	off           bool // it tells none
	before, after roles
	conn          *inetdiag.Conn // beside the dump's own; nil until there is something to look up
	failed        bool           // nothing more is looked up
	ids           []inetdiag.ID
	index         []int // into the batch, of ids
}

// tell sets the role of each socket that a process owns, as far as it can be told.
func (l *roleLookup) tell(batch []Seen) {
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
		case err != nil: // the next dump asks again
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

// finish ends the look-ups, and returns the roles to begin the next dump with. An incomplete dump adds to those of the
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
