// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package heap is container/heap for one type: a priority queue whose elements know their index in it.
package heap

import (
	"container/heap"
	"iter"
)

// Heap is a priority queue. It is not safe for concurrent use.
type Heap[T any] struct{ items items[T] }

// New returns an empty heap. The first element is one that no other comes before. The heap calls setIndex whenever
// the index of an element changes, and with -1 once the element leaves the heap.
func New[T any](before func(a, b T) bool, setIndex func(element T, index int)) *Heap[T] {
	return &Heap[T]{items[T]{before: before, setIndex: setIndex}}
}

// Len returns the number of elements.
func (h *Heap[T]) Len() int { return len(h.items.list) }

// First returns the first element. It panics if the heap is empty.
func (h *Heap[T]) First() T { return h.items.list[0] }

// Push adds an element.
func (h *Heap[T]) Push(element T) { heap.Push(&h.items, element) }

// Pop removes the first element and returns it. It panics if the heap is empty.
func (h *Heap[T]) Pop() T { return heap.Pop(&h.items).(T) }

// Fix moves the element with that index to its place after its order has changed.
func (h *Heap[T]) Fix(index int) { heap.Fix(&h.items, index) }

// Remove removes the element with that index.
func (h *Heap[T]) Remove(index int) { heap.Remove(&h.items, index) }

// Replace replaces all elements. The heap keeps the slice. It does not call setIndex for the old elements.
func (h *Heap[T]) Replace(elements []T) {
	h.items.list = elements
	for i, e := range elements {
		h.items.setIndex(e, i)
	}
	heap.Init(&h.items)
}

// While yields the elements for which fn returns true, roughly in their order. If fn returns false for an element, it
// must return false for every later one too: While does not visit those. The heap must not change during the loop.
func (h *Heap[T]) While(fn func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
			i := queue[0]
			if i >= h.Len() || !fn(h.items.list[i]) {
				continue
			}
			if !yield(h.items.list[i]) {
				return
			}
			queue = append(queue, 2*i+1, 2*i+2) // the children, which come after it
		}
	}
}

// items implements heap.Interface.
type items[T any] struct {
	list     []T
	before   func(a, b T) bool
	setIndex func(T, int)
}

func (s *items[T]) Len() int           { return len(s.list) }
func (s *items[T]) Less(i, j int) bool { return s.before(s.list[i], s.list[j]) }

func (s *items[T]) Swap(i, j int) {
	s.list[i], s.list[j] = s.list[j], s.list[i]
	s.setIndex(s.list[i], i)
	s.setIndex(s.list[j], j)
}

func (s *items[T]) Push(x any) {
	s.setIndex(x.(T), len(s.list))
	s.list = append(s.list, x.(T))
}

func (s *items[T]) Pop() any {
	last := len(s.list) - 1
	x := s.list[last]
	clear(s.list[last:]) // so that the array does not keep it in memory
	s.list = s.list[:last]
	s.setIndex(x, -1)
	return x
}
