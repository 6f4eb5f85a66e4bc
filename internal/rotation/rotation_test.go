// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package rotation_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/internal/rotation"
)

// queueUp pushes the numbers below n for a group.
func queueUp(q *rotation.Queue[string, int], group string, n int) {
	for v := range n {
		q.Push(group, v)
	}
}

func TestGroupsAreServedInTurn(t *testing.T) {
	q := rotation.New[string, int]()
	queueUp(q, "leaky", 1000)
	queueUp(q, "a", 3)
	queueUp(q, "b", 2)
	var order []string
	var values []int
	for v := range q.InTurn() {
		if values = append(values, v); len(values) == 8 {
			break
		}
	}
	for range 8 {
		group, list := q.Pop(1)
		if len(list) != 1 || list[0] != values[len(order)] {
			t.Fatalf("turn %d returns %v, want %d", len(order), list, values[len(order)])
		}
		order = append(order, group)
	}
	if want := []string{"leaky", "a", "b", "leaky", "a", "b", "leaky", "a"}; !slices.Equal(order, want) {
		t.Errorf("served %v, want %v", order, want)
	}
	if q.Groups() != 1 || q.Len() != 997 {
		t.Errorf("%d groups with %d values are left, want 1 with 997", q.Groups(), q.Len())
	}
}

func TestTheValuesOfAGroupAreServedInOrder(t *testing.T) {
	q := rotation.New[string, int]()
	queueUp(q, "a", 10)
	next := 0
	for q.Len() > 0 {
		_, list := q.Pop(3)
		for _, v := range list {
			if v != next {
				t.Fatalf("got %d, want %d", v, next)
			}
			next++
		}
	}
	if next != 10 {
		t.Errorf("got %d values", next)
	}
}

func TestPopReturnsNoValues(t *testing.T) {
	q := rotation.New[string, int]()
	if group, list := q.Pop(5); group != "" || list != nil {
		t.Error("an empty queue returns values")
	}
	queueUp(q, "a", 1)
	if group, list := q.Pop(0); group != "" || list != nil || q.Len() != 1 {
		t.Error("Pop(0) returns values")
	}
}

func TestDropRemovesAGroup(t *testing.T) {
	q := rotation.New[string, int]()
	for _, group := range []string{"a", "b", "c"} {
		queueUp(q, group, 5)
	}
	q.Pop(1) // a is last now
	for _, group := range []string{"b", "b", "unknown"} {
		q.Drop(group)
	}
	if q.Len() != 9 || q.Groups() != 2 {
		t.Errorf("%d of %d groups are left", q.Len(), q.Groups())
	}
	if group, _ := q.Pop(9); group != "c" {
		t.Error("the wrong one is next")
	}
	if group, list := q.Pop(9); group != "a" || len(list) != 4 || q.Len() != 0 {
		t.Error("the wrong one is last")
	}
}

// TestTurnsAreFair pushes and pops at random: while a group has values, no other group is served twice.
func TestTurnsAreFair(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	q := rotation.New[int, int]()
	queued := make(map[int]int)
	sinceServed := make(map[int]map[int]int) // by waiting group: how often each other group was served
	for range 50_000 {
		if rnd.IntN(2) == 0 {
			group := rnd.IntN(5)
			q.Push(group, 0)
			if queued[group]++; queued[group] == 1 {
				sinceServed[group] = make(map[int]int)
			}
			continue
		}
		group, list := q.Pop(1 + rnd.IntN(3))
		if list == nil {
			continue
		}
		queued[group] -= len(list)
		for other, served := range sinceServed {
			if other != group && queued[other] > 0 {
				if served[group]++; served[group] > 1 {
					t.Fatalf("%d was served twice while %d waited", group, other)
				}
			}
		}
		sinceServed[group] = make(map[int]int)
		total := 0
		for _, n := range queued {
			total += n
		}
		if q.Len() != total || queued[group] < 0 {
			t.Fatalf("the length is %d, want %d", q.Len(), total)
		}
	}
}

func TestInTurnIsTheOrderOfPop1(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		q := rotation.New[int, int]()
		for group := range rnd.IntN(5) {
			for v := range rnd.IntN(6) {
				q.Push(group, 10*group+v)
			}
		}
		got, want := slices.Collect(q.InTurn()), []int(nil)
		count := q.Len()
		for {
			_, list := q.Pop(1)
			if len(list) == 0 {
				break
			}
			want = append(want, list...)
		}
		if !slices.Equal(got, want) || len(got) != count {
			t.Fatalf("%v of %d values, want %v", got, count, want)
		}
	}
}
