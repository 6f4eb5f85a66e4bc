// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"slices"
)

// Order is what the pods are sorted by, the most of it first.
type Order int

// The orders.
const (
	ByCount     Order = iota // of sockets
	ByAge                    // of the oldest socket
	ByDestroyed              // sockets that were destroyed
)

// orders lists the orders with the key and the word of each.
func orders() []struct {
	key  key
	word string
} {
	return []struct {
		key  key
		word string
	}{ByCount: {"c", "count"}, ByAge: {"a", "age"}, ByDestroyed: {"d", "destroyed"}}
}

// Orders lists the words of the orders.
func Orders() []string {
	var words []string
	for _, o := range orders() {
		words = append(words, o.word)
	}
	return words
}

// ParseOrder returns the order of a word, and reports whether there is one.
func ParseOrder(word string) (Order, bool) {
	i := slices.Index(Orders(), word)
	return Order(max(0, i)), i >= 0
}

// orderOf returns the order of a key, and reports whether there is one.
func orderOf(k key) (Order, bool) {
	for i, o := range orders() {
		if o.key == k {
			return Order(i), true
		}
	}
	return 0, false
}

// compare compares two rows: the more of what is sorted by, then the more sockets, then the older, then the
// name, so that rows change places only for a reason.
func (o Order) compare(a, b row) int {
	count, age, ended := cmp.Compare(b.total(), a.total()), cmp.Compare(b.a.Oldest, a.a.Oldest), cmp.Compare(b.ended(), a.ended())
	inert := cmp.Compare(len(a.a.Inert), 0) - cmp.Compare(len(b.a.Inert), 0) // last
	rest := cmp.Or(inert, cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
	switch o {
	case ByAge:
		return cmp.Or(age, count, rest)
	case ByDestroyed:
		return cmp.Or(ended, count, age, rest)
	case ByCount:
	}
	return cmp.Or(count, age, rest)
}
