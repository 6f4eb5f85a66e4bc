// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"container/heap"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweepQueue says which namespace is swept next.
type sweepQueue struct {
	entries sweepHeap
	byID    map[netns.Identity]*sweepEntry
	patient bool // what is new has time: one after the other, within its interval
}

type sweepEntry struct {
	target Target
	due    monotime.Time
	walk   time.Duration // what the last walk over its hash cost, 0 if there was none
	index  int
}

// replace takes over a new set: what is new is due at once, what stays keeps its time but is due no later
// than its interval says.
func (q *sweepQueue) replace(set []Target, now monotime.Time) {
	old := q.byID
	q.byID = make(map[netns.Identity]*sweepEntry, len(set))
	q.entries = q.entries[:0]
	for _, t := range set {
		e := &sweepEntry{target: t, due: now}
		if q.patient {
			e.due = now.Add(t.Interval * time.Duration(1+len(q.entries)) / time.Duration(len(set)))
		}
		if was := old[t.Identity]; was != nil {
			e.due, e.walk = min(was.due, now.Add(t.Interval)), was.walk
		}
		e.index = len(q.entries)
		q.entries = append(q.entries, e)
		q.byID[t.Identity] = e
	}
	heap.Init(&q.entries)
}

func (q *sweepQueue) peek() *sweepEntry {
	if len(q.entries) == 0 {
		return nil
	}
	return q.entries[0]
}

// done puts e back at the end of its interval.
func (q *sweepQueue) done(e *sweepEntry, began monotime.Time) {
	e.due = began.Add(e.target.Interval)
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
