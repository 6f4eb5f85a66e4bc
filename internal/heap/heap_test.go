// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package heap_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/heap"
)

type element struct{ due, index int }

func newHeap() *heap.Heap[*element] {
	return heap.New(func(a, b *element) bool { return a.due < b.due }, func(e *element, i int) { e.index = i })
}

// drain pops every element.
func drain(t *testing.T, h *heap.Heap[*element]) (due []int) {
	t.Helper()
	for h.Len() > 0 {
		first := h.First()
		if got := h.Pop(); got != first {
			t.Errorf("Pop returns %v, First returned %v", got, first)
		} else if got.index != -1 {
			t.Errorf("the index of a popped element is %d, want -1", got.index)
		}
		due = append(due, first.due)
	}
	return due
}

func TestElementsLeaveInOrderAndKnowTheirIndexAfterAnyChange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	h := newHeap()
	var in []*element // the heap's elements
	for range 5000 {
		switch i := 0; r.IntN(4) {
		case 0, 1:
			e := &element{due: r.IntN(100)}
			h.Push(e)
			in = append(in, e)
		case 2:
			if len(in) > 0 {
				i = r.IntN(len(in))
				in[i].due = r.IntN(100)
				h.Fix(in[i].index)
			}
		case 3:
			if len(in) > 0 {
				i = r.IntN(len(in))
				h.Remove(in[i].index)
				if in[i].index != -1 {
					t.Fatalf("the index of a removed element is %d, want -1", in[i].index)
				}
				in = slices.Delete(in, i, i+1)
			}
		}
		if h.Len() != len(in) {
			t.Fatalf("the heap has %d elements, want %d", h.Len(), len(in))
		}
	}
	want := make([]int, 0, len(in))
	for _, e := range in {
		want = append(want, e.due)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, drain(t, h)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestReplaceDropsTheOldElements(t *testing.T) {
	h := newHeap()
	h.Push(&element{due: 1})
	h.Replace([]*element{{due: 9}, {due: 3}, {due: 5}})
	if diff := cmp.Diff([]int{3, 5, 9}, drain(t, h)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestWhileYieldsExactlyTheElementsBeforeALimitAndVisitsFewOthers(t *testing.T) {
	h := newHeap()
	for i := range 1000 {
		h.Push(&element{due: (i * 7) % 1000})
	}
	visited := 0
	var got []int
	for e := range h.While(func(e *element) bool { visited++; return e.due < 10 }) {
		got = append(got, e.due)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, got); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	if visited > 21 { // each yielded element has at most two children
		t.Errorf("%d elements were visited", visited)
	}
	for range h.While(func(*element) bool { return true }) {
		break
	}
	for range newHeap().While(func(*element) bool { return true }) {
		t.Error("an empty heap yields an element")
	}
}
