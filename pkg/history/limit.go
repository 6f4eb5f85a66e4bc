// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"net/netip"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// The limits on entries of single sockets. Those above them are summed.
const (
	MaxPerMinute       = 600 // on the node
	MaxPerMinuteOfKind = 20  // of one pod, owner, state, peer address and outcome
)

const (
	// maxSums and maxPodSums bound the sums of a minute: above maxSums owners and peers are summed together, above
	// maxPodSums pods too.
	maxSums    = 300
	maxPodSums = 600
	// maxOwners bounds the owners of an entry on disk: hundreds of workers may share a socket.
	maxOwners = 8
)

// Limiter decides which entries are written as they are, and sums the others. It is not safe for concurrent use.
type Limiter struct {
	began   time.Time // of the minute
	entries int       // in this minute
	ofKind  map[entryKind]int
	sums    map[entryKind]*api.Entry
	order   []*api.Entry // sums, in the order of their first entries
}

// entryKind is what the entries of a sum have in common.
type entryKind struct {
	pod       state.Pod
	container string
	command   string // of the first owner
	state     inetdiag.State
	peer      netip.Addr
	outcome   string
	how       string
}

func kindOf(e *api.Entry) entryKind {
	k := entryKind{pod: e.Pod, container: e.ContainerID, state: e.State, peer: e.Peer.Addr(), outcome: e.Outcome, how: e.How + e.Errno}
	if len(e.Owners) > 0 {
		k.command = e.Owners[0].Command
	}
	return k
}

// Admit reports whether the entry is within the limits. Otherwise a later Sums includes it, and Admit sets its FirstSeq to that
// of the sum.
func (l *Limiter) Admit(e *api.Entry) bool {
	if l.ofKind == nil {
		l.ofKind, l.sums = make(map[entryKind]int), make(map[entryKind]*api.Entry)
	}
	if l.entries == 0 && len(l.sums) == 0 {
		l.began = e.Time
	}
	kind := kindOf(e)
	if l.entries < MaxPerMinute && l.ofKind[kind] < MaxPerMinuteOfKind {
		l.entries++
		l.ofKind[kind]++
		return true
	}
	l.sum(kind, e)
	return false
}

// sum adds an entry to a sum.
func (l *Limiter) sum(kind entryKind, e *api.Entry) {
	if l.sums[kind] == nil && len(l.sums) >= maxSums {
		kind.command, kind.peer = "", netip.Addr{}
	}
	if l.sums[kind] == nil && len(l.sums) >= maxPodSums {
		kind = entryKind{state: kind.state, outcome: kind.outcome, how: kind.how}
	}
	s := l.sums[kind]
	if s == nil {
		e.FirstSeq = e.Seq
		s = new(*e)
		s.Count, s.First = 1, e.Time
		l.sums[kind] = s
		l.order = append(l.order, s)
		return
	}
	e.FirstSeq = s.FirstSeq
	s.Count++
	s.Seq, s.Time, s.Cookie = e.Seq, e.Time, 0
	s.Local, s.Peer = commonAddr(s.Local, e.Local), commonAddr(s.Peer, e.Peer)
	s.Age, s.Idle, s.Late, s.Excused = max(s.Age, e.Age), max(s.Idle, e.Idle), max(s.Late, e.Late), max(s.Excused, e.Excused)
	s.Grace, s.RQueue, s.WQueue = max(s.Grace, e.Grace), max(s.RQueue, e.RQueue), max(s.WQueue, e.WQueue)
	if kind.container != e.ContainerID {
		s.ContainerID, s.Pod, s.Network = "", state.Pod{}, ""
	}
	if len(e.Owners) == 0 || kind.command != e.Owners[0].Command {
		s.Owners = nil
	}
}

// commonAddr returns the part of two addresses that is equal: port 0 if the ports differ, no address if the addresses do.
func commonAddr(a, b netip.AddrPort) netip.AddrPort {
	switch {
	case a == b:
		return a
	case a.Addr() == b.Addr():
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return netip.AddrPort{}
}

// Sums returns the sums once their minute has ended, and begins another minute. It may be called at any time: after the
// wall clock was set back too.
func (l *Limiter) Sums(now time.Time) []api.Entry {
	if passed := now.Sub(l.began); passed >= 0 && passed < time.Minute {
		return nil
	}
	return l.Flush()
}

// Pending returns the sums so far.
func (l *Limiter) Pending() []api.Entry {
	var list []api.Entry
	for _, s := range l.order {
		e := *s
		if e.Count == 1 {
			e.Count, e.First, e.FirstSeq = 0, time.Time{}, 0
		}
		list = append(list, e)
	}
	return list
}

// Flush is Sums before the end of the minute.
func (l *Limiter) Flush() []api.Entry {
	list := l.Pending()
	clear(l.ofKind)
	clear(l.sums)
	l.entries, l.order = 0, nil
	return list
}

// ForDisk returns the entry as it is written: with the first of its owners only.
func ForDisk(e api.Entry) api.Entry {
	if n := len(e.Owners); n > maxOwners {
		e.Owners, e.MoreOwners = append([]owners.Process(nil), e.Owners[:maxOwners]...), n-maxOwners
	}
	return e
}
