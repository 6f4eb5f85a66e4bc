// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package rotation has a queue that serves groups in turn.
package rotation

import "iter"

// Queue queues values by group, such as a network namespace, and serves the groups in turn, so that a group with many
// values does not delay the others. It is not safe for concurrent use.
type Queue[G comparable, V any] struct {
	order []G
	lists map[G][]V
	count int
}

// New returns an empty queue.
func New[G comparable, V any]() *Queue[G, V] { return &Queue[G, V]{lists: make(map[G][]V)} }

// Push appends v to the values of its group.
func (q *Queue[G, V]) Push(group G, v V) {
	list, ok := q.lists[group]
	if !ok {
		q.order = append(q.order, group)
	}
	q.lists[group] = append(list, v)
	q.count++
}

// Len returns the number of queued values.
func (q *Queue[G, V]) Len() int { return q.count }

// Groups returns the number of groups with queued values.
func (q *Queue[G, V]) Groups() int { return len(q.order) }

// Pop removes and returns up to limit values of the next group; none if the queue is empty.
func (q *Queue[G, V]) Pop(limit int) (group G, values []V) {
	if len(q.order) == 0 || limit < 1 {
		return group, nil
	}
	group = q.order[0]
	q.order = q.order[1:]
	list := q.lists[group]
	n := min(limit, len(list))
	q.count -= n
	if n == len(list) {
		delete(q.lists, group)
	} else {
		q.lists[group] = list[n:]
		q.order = append(q.order, group)
	}
	return group, list[:n:n]
}

// InTurn yields the queued values in the order of Pop(1).
func (q *Queue[G, V]) InTurn() iter.Seq[V] {
	return func(yield func(V) bool) {
		lists := make([][]V, 0, len(q.order))
		for _, group := range q.order {
			lists = append(lists, q.lists[group])
		}
		for len(lists) > 0 {
			rest := lists[:0]
			for _, list := range lists {
				if !yield(list[0]) {
					return
				}
				if len(list) > 1 {
					rest = append(rest, list[1:])
				}
			}
			lists = rest
		}
	}
}

// Drop removes the values of a group.
func (q *Queue[G, V]) Drop(group G) {
	list, ok := q.lists[group]
	if !ok {
		return
	}
	q.count -= len(list)
	delete(q.lists, group)
	for i, other := range q.order {
		if other == group {
			q.order = append(q.order[:i:i], q.order[i+1:]...)
			return
		}
	}
}
