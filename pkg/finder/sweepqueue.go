// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"container/heap"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweepQueue orders network namespaces by when their next sweep is due.
type sweepQueue struct {
	order   sweepOrder
	entries sweepHeap
	byID    map[netns.Identity]*sweepEntry
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
	dump  time.Duration // what its last dump cost; 0 if there was none
	roles roles         // of the sockets that its last dump has shown
	index int           // in the heap
}

// replace takes over another set. A network namespace that was there before keeps its due time, but is due no
// later than its new interval says.
func (q *sweepQueue) replace(set []Netns, now monotime.Time) {
	old := q.byID
	q.byID = make(map[netns.Identity]*sweepEntry, len(set))
	q.entries = q.entries[:0]
	for _, n := range set {
		e := &sweepEntry{netns: n, due: now}
		if q.order == dueSpread {
			e.due = now.Add(n.Interval * time.Duration(1+len(q.entries)) / time.Duration(len(set)))
		}
		if was := old[n.Identity]; was != nil {
			e.due, e.dump, e.roles = min(was.due, now.Add(n.Interval)), was.dump, was.roles
		}
		e.index = len(q.entries)
		q.entries = append(q.entries, e)
		q.byID[n.Identity] = e
	}
	heap.Init(&q.entries)
}

// peek returns the entry that is due first, nil if the queue is empty.
func (q *sweepQueue) peek() *sweepEntry {
	if len(q.entries) == 0 {
		return nil
	}
	return q.entries[0]
}

// reschedule makes e due one interval after its sweep began.
func (q *sweepQueue) reschedule(e *sweepEntry, began monotime.Time) {
	e.due = began.Add(e.netns.Interval)
	heap.Fix(&q.entries, e.index)
}

type sweepHeap []*sweepEntry

func (h sweepHeap) Len() int           { return len(h) }
func (h sweepHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h sweepHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *sweepHeap) Push(x any) { *h = append(*h, x.(*sweepEntry)) }
func (h *sweepHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
