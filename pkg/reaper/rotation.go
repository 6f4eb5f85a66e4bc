// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import "iter"

// rotation queues candidates by namespace and serves the namespaces in turn, so that one namespace with a
// great leak does not keep the others waiting.
type rotation struct {
	order []*registered
	lists map[*registered][]*candidate
	count int
}

func newRotation() *rotation { return &rotation{lists: make(map[*registered][]*candidate)} }

// push queues c behind the others of its namespace.
func (r *rotation) push(c *candidate) {
	list, ok := r.lists[c.ns]
	if !ok {
		r.order = append(r.order, c.ns)
	}
	r.lists[c.ns] = append(list, c)
	r.count++
}

// namespaces returns how many have something queued.
func (r *rotation) namespaces() int { return len(r.order) }

// pop returns at most limit candidates of the namespace whose turn it is.
func (r *rotation) pop(limit int) (*registered, []*candidate) {
	if len(r.order) == 0 || limit < 1 {
		return nil, nil
	}
	ns := r.order[0]
	r.order = r.order[1:]
	list := r.lists[ns]
	n := min(limit, len(list))
	r.count -= n
	if n == len(list) {
		delete(r.lists, ns)
	} else {
		r.lists[ns] = list[n:]
		r.order = append(r.order, ns)
	}
	return ns, list[:n:n]
}

// inTurn yields what is queued in the order in which it is served if each turn is for one candidate.
func (r *rotation) inTurn() iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		lists := make([][]*candidate, 0, len(r.order))
		for _, ns := range r.order {
			lists = append(lists, r.lists[ns])
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

// drop forgets what is queued of a namespace.
func (r *rotation) drop(ns *registered) {
	list, ok := r.lists[ns]
	if !ok {
		return
	}
	r.count -= len(list)
	delete(r.lists, ns)
	for i, other := range r.order {
		if other == ns {
			r.order = append(r.order[:i:i], r.order[i+1:]...)
			return
		}
	}
}
