// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"maps"
	"time"

	"github.com/halfclose/halfclose/internal/heap"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweepQueue orders network namespaces by when their next sweep is due.
type sweepQueue struct {
	order   sweepOrder
	entries *heap.Heap[*sweepEntry]
	byID    map[netns.Identity]*sweepEntry
}

func newSweepQueue(order sweepOrder) sweepQueue {
	return sweepQueue{order: order, entries: heap.New(
		func(a, b *sweepEntry) bool { return a.due < b.due },
		func(e *sweepEntry, index int) { e.index = index },
	)}
}

// sweepOrder is when a network namespace that is new to a queue is due.
type sweepOrder uint8

const (
	dueNow    sweepOrder = iota
	dueSpread            // within its interval, one network namespace after the other
)

type sweepEntry struct {
	netns Netns
	due   monotime.Time
	began monotime.Time // when its last sweep began; zero: none has
	dump  time.Duration // cost of its last dump; 0 before the first
	roles roles         // of the sockets of its last dump
	index int           // in the heap
}

// replace takes over another set. A network namespace that was there before keeps its due time, but is due no
// later than its new interval says.
func (q *sweepQueue) replace(set []Netns, now monotime.Time) {
	old := q.byID
	q.byID = make(map[netns.Identity]*sweepEntry, len(set))
	entries := make([]*sweepEntry, 0, len(set))
	for _, n := range set {
		e := &sweepEntry{netns: n, due: now}
		if q.order == dueSpread {
			e.due = now.Add(n.Interval * time.Duration(1+len(entries)) / time.Duration(len(set)))
		}
		if was := old[n.Identity]; was != nil {
			e.due, e.began, e.dump, e.roles = min(was.due, now.Add(n.Interval)), was.began, was.dump, was.roles
		}
		entries = append(entries, e)
		q.byID[n.Identity] = e
	}
	q.entries.Replace(entries)
}

// merge gives each of two queues the entries of both. Both are replaced next: so a network namespace that changes from one
// to the other keeps its times.
func (q *sweepQueue) merge(other *sweepQueue) {
	all := make(map[netns.Identity]*sweepEntry, len(q.byID)+len(other.byID))
	maps.Copy(all, q.byID)
	maps.Copy(all, other.byID)
	q.byID, other.byID = all, all
}

// peek returns the entry that is due first, nil if the queue is empty.
func (q *sweepQueue) peek() *sweepEntry {
	if q.entries.Len() == 0 {
		return nil
	}
	return q.entries.First()
}

// reschedule makes e due one interval after its sweep began.
func (q *sweepQueue) reschedule(e *sweepEntry, began monotime.Time) {
	e.began, e.due = began, began.Add(e.netns.Interval)
	q.entries.Fix(e.index)
}
