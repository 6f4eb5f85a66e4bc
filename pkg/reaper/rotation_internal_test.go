// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"math/rand/v2"
	"testing"
)

// queueUp pushes n candidates of a new namespace.
func queueUp(r *rotation, inode uint64, n int) *registered {
	ns := newRegistered(inode)
	for cookie := range uint64(n) {
		c := &candidate{ns: ns, index: -1}
		c.history.ID = closeWait(cookie, 0).ID
		r.push(c)
	}
	return ns
}

func TestRotationServesTheNamespacesInTurn(t *testing.T) {
	r := newRotation()
	leaky, a, b := queueUp(r, 1, 1000), queueUp(r, 2, 3), queueUp(r, 3, 2)
	var order []*registered
	for range 8 {
		ns, list := r.pop(1)
		if len(list) != 1 || list[0].ns != ns {
			t.Fatalf("popped %d of the wrong namespace", len(list))
		}
		order = append(order, ns)
	}
	want := []*registered{leaky, a, b, leaky, a, b, leaky, a}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("turn %d was %v's, want %v's", i, order[i].Identity, want[i].Identity)
		}
	}
	if r.namespaces() != 1 || r.count != 997 {
		t.Errorf("%d namespaces with %d candidates are left, want 1 with 997", r.namespaces(), r.count)
	}
}

func TestRotationServesEachNamespaceInOrder(t *testing.T) {
	r := newRotation()
	queueUp(r, 1, 10)
	next := uint64(0)
	for r.count > 0 {
		_, list := r.pop(3)
		for _, c := range list {
			if c.history.ID.Cookie() != next {
				t.Fatalf("candidate %d comes, want %d", c.history.ID.Cookie(), next)
			}
			next++
		}
	}
	if next != 10 {
		t.Errorf("%d came", next)
	}
}

func TestRotationGivesNothing(t *testing.T) {
	r := newRotation()
	if ns, list := r.pop(5); ns != nil || list != nil {
		t.Error("when it is empty")
	}
	queueUp(r, 1, 1)
	if ns, list := r.pop(0); ns != nil || list != nil || r.count != 1 {
		t.Error("when nothing is asked for")
	}
}

func TestRotationDropsANamespace(t *testing.T) {
	r := newRotation()
	a, b, c := queueUp(r, 1, 5), queueUp(r, 2, 5), queueUp(r, 3, 5)
	r.pop(1) // of a, which is last then
	for _, ns := range []*registered{b, b, newRegistered(4)} {
		r.drop(ns) // again, and one it does not know
	}
	if r.count != 9 || r.namespaces() != 2 {
		t.Errorf("%d of %d namespaces are left", r.count, r.namespaces())
	}
	if ns, _ := r.pop(9); ns != c {
		t.Error("the wrong one is next")
	}
	if ns, list := r.pop(9); ns != a || len(list) != 4 || r.count != 0 {
		t.Error("the wrong one is last")
	}
}

// TestRotationIsFair queues and serves at random: while a namespace has something queued, no other one is
// served twice.
func TestRotationIsFair(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	r := newRotation()
	namespaces := make([]*registered, 5)
	for i := range namespaces {
		namespaces[i] = newRegistered(uint64(i))
	}
	queued := make(map[*registered]int)
	sinceServed := make(map[*registered]map[*registered]int) // how often others were, while one waited
	for range 50_000 {
		if rnd.IntN(2) == 0 {
			ns := namespaces[rnd.IntN(len(namespaces))]
			r.push(&candidate{ns: ns, index: -1})
			if queued[ns]++; queued[ns] == 1 {
				sinceServed[ns] = make(map[*registered]int)
			}
			continue
		}
		ns, list := r.pop(1 + rnd.IntN(3))
		if ns == nil {
			continue
		}
		queued[ns] -= len(list)
		for other, served := range sinceServed {
			if other != ns && queued[other] > 0 {
				if served[ns]++; served[ns] > 1 {
					t.Fatalf("%v was served twice while %v waited", ns.Identity, other.Identity)
				}
			}
		}
		sinceServed[ns] = make(map[*registered]int)
		total := 0
		for _, n := range queued {
			total += n
		}
		if r.count != total || queued[ns] < 0 {
			t.Fatalf("count is %d, %d are queued", r.count, total)
		}
	}
}
