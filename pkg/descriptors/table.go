// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package descriptors

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/halfclose/halfclose/internal/heap"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// table has the watched sockets and their owners.
type table struct {
	max       int
	sockets   map[uint32]*socket
	processes map[int]*process
	due       *heap.Heap[*process]
	held      int // confirmed sockets
	closed    uint64
	untracked uint64
	changed   bool // since the last save
	greedy    int  // the PID of the process with the most sockets, for which makeRoom made none; 0 once a socket has gone
}

// socket is a watched socket.
type socket struct {
	ended       monotime.Time
	owners      []*process // that may hold it
	isConfirmed bool       // a process held it at least closeDelay after its end
}

// process is an owner of watched sockets.
type process struct {
	owners.Process
	started   uint64 // 0 until the first check
	pod       state.Pod
	sockets   map[uint32]owners.Place // the ones that it may hold
	ended     uint64
	held      int           // confirmed ones
	since     monotime.Time // the earliest end of these
	lastEnded monotime.Time
	due       monotime.Time // of the next check
	interval  time.Duration
	index     int // in the heap
}

// maxOwners bounds the watched owners of one socket: servers that fork share each with all children.
const maxOwners = 8

func newTable(maxSockets int) *table {
	return &table{
		max: maxSockets, sockets: make(map[uint32]*socket), processes: make(map[int]*process),
		due: heap.New(func(a, b *process) bool { return a.due.Before(b.due) }, func(p *process, i int) { p.index = i }),
	}
}

// add adds an ended socket. It is checked closeDelay after its end.
func (t *table) add(s *Socket, now monotime.Time) {
	if len(s.Owners) == 0 || s.Inode == 0 {
		t.untracked++
		return
	}
	if old := t.sockets[s.Inode]; old != nil { // the number was used again: nothing holds the old socket
		t.forget(s.Inode)
	}
	if len(t.sockets) >= t.max && !t.makeRoom(s.Owners[0].PID) {
		t.untracked++
		return
	}
	one := &socket{ended: s.Ended}
	for i := range s.Owners[:min(len(s.Owners), maxOwners)] {
		o := &s.Owners[i]
		p := t.processes[o.PID]
		if p == nil {
			p = &process{Process: *o, pod: s.Pod, sockets: make(map[uint32]owners.Place), index: -1}
			p.TID, p.FD = 0, 0
			t.processes[o.PID] = p
		}
		if _, has := p.sockets[s.Inode]; has {
			continue
		}
		p.sockets[s.Inode] = owners.Place{TID: o.TID, FD: o.FD}
		one.owners = append(one.owners, p)
		p.ended++
		p.lastEnded = s.Ended
		t.schedule(p, s.Ended.Add(closeDelay), now)
	}
	t.sockets[s.Inode] = one
	t.changed = true
}

// schedule moves the check of a process to an earlier time, and the interval to its start.
func (t *table) schedule(p *process, at, now monotime.Time) {
	p.interval = closeDelay
	switch at = max(at, now); {
	case p.index < 0:
		p.due = at
		t.due.Push(p)
	case at.Before(p.due):
		p.due = at
		t.due.Fix(p.index)
	}
}

// makeRoom stops watching some sockets of the processes that have the most, unless the new socket's process has the most. It
// reports whether there is room now. It looks at all processes, of which a pod may have 10,000s with one socket each: so it
// makes room for many sockets, and remembers the process that gets none.
func (t *table) makeRoom(pid int) bool {
	if t.greedy == pid {
		return false
	}
	all := slices.SortedFunc(maps.Values(t.processes), func(a, b *process) int { return cmp.Compare(len(b.sockets), len(a.sockets)) })
	if len(all) == 0 || all[0].PID == pid {
		t.greedy = pid
		return false
	}
	room := len(t.sockets) - max(t.max/64, 1)
	for _, p := range all {
		n := max(len(p.sockets)/8, 1)
		for inode := range p.sockets {
			if n--; n < 0 || p.PID == pid {
				break
			}
			t.forget(inode)
			t.untracked++
		}
		if len(t.sockets) <= room {
			break
		}
	}
	return len(t.sockets) < t.max
}

// forget stops watching a socket.
func (t *table) forget(inode uint32) {
	s := t.sockets[inode]
	delete(t.sockets, inode)
	t.greedy = 0
	if s.isConfirmed {
		t.held--
	}
	for _, p := range s.owners {
		delete(p.sockets, inode)
		p.ended--
		if s.isConfirmed && p.held > 0 {
			p.held--
		}
	}
	t.changed = true
}

// release notes that a process does not hold a socket.
func (t *table) release(p *process, inode uint32) {
	delete(p.sockets, inode)
	t.changed = true
	s := t.sockets[inode]
	s.owners = slices.DeleteFunc(s.owners, func(o *process) bool { return o == p })
	if len(s.owners) > 0 {
		return
	}
	delete(t.sockets, inode)
	t.greedy = 0
	t.closed++
	if s.isConfirmed {
		t.held--
	}
}

// firstDue returns the time of the next check.
func (t *table) firstDue() (monotime.Time, bool) {
	if t.due.Len() == 0 {
		return 0, false
	}
	return t.due.First().due, true
}

// nextDue returns the process whose check is due, nil if none is.
func (t *table) nextDue(now monotime.Time) *process {
	if at, ok := t.firstDue(); !ok || now.Before(at) {
		return nil
	}
	return t.due.First()
}

// update stores which of its sockets a process holds, and schedules its next check.
func (t *table) update(p *process, held map[uint32]owners.Place, now monotime.Time) {
	p.held, p.since = 0, 0
	waiting := false
	for inode := range p.sockets {
		place, holds := held[inode]
		if !holds {
			t.release(p, inode)
			continue
		}
		p.sockets[inode] = place
		s := t.sockets[inode]
		switch {
		case s.isConfirmed:
		case now.Sub(s.ended) < closeDelay:
			waiting = true
			continue
		default:
			s.isConfirmed = true
			t.held++
		}
		p.held++
		if p.since == 0 || s.ended.Before(p.since) {
			p.since = s.ended
		}
	}
	if len(p.sockets) == 0 && now.Sub(p.lastEnded) >= forgetAfter {
		t.drop(p)
		return
	}
	if waiting {
		p.interval = closeDelay
	}
	p.due = now.Add(p.interval)
	p.interval = min(2*p.interval, maxCheckInterval)
	t.due.Fix(p.index)
}

// exited releases the sockets of a process.
func (t *table) exited(p *process) {
	for inode := range p.sockets {
		t.release(p, inode)
	}
	t.drop(p)
}

// abandon stops watching the sockets of a process that cannot be read.
func (t *table) abandon(p *process) {
	for inode := range p.sockets {
		t.forget(inode)
		t.untracked++
	}
	t.drop(p)
}

func (t *table) drop(p *process) {
	t.due.Remove(p.index)
	delete(t.processes, p.PID)
	t.changed = true
}

// suspects returns the processes that hold descriptors, those with the most first.
func (t *table) suspects() []Suspect {
	list := t.holders()
	all := make([]Suspect, len(list))
	for i, p := range list {
		all[i] = Suspect{p.Process, p.pod}
	}
	return all
}

func (t *table) holders() []*process {
	var list []*process
	for _, p := range t.processes {
		if p.held > 0 {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *process) int {
		return cmp.Or(cmp.Compare(b.held, a.held), cmp.Compare(a.PID, b.PID))
	})
	return list
}

// view returns the state for the API.
func (t *table) view(clock monotime.Clock, near []api.FileUse) api.DescriptorsView {
	v := emptyView()
	v.Held, v.Closed, v.Tracked, v.Untracked = t.held, t.closed, len(t.sockets), t.untracked
	v.NearLimit = append(v.NearLimit, near...)
	list := t.holders()
	now, wall := clock.Now(), clock.Wall()
	for _, p := range list[:min(len(list), api.MaxHolders)] {
		v.Holders = append(v.Holders, api.DescriptorHolder{
			Process: p.Process, Pod: p.pod, Held: p.held, Ended: p.ended, Since: wall.Add(-now.Sub(p.since)),
		})
	}
	return v
}
