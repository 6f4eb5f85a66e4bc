// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"slices"
)

// Order is the sort order of the pods, largest first.
type Order int

// The orders.
const (
	ByCount     Order = iota // of sockets
	ByAge                    // of the oldest socket
	ByDestroyed              // sockets that were destroyed
)

// orders lists the orders with their keys and names.
func orders() []struct {
	key  key
	word string
} {
	return []struct {
		key  key
		word string
	}{ByCount: {"c", "count"}, ByAge: {"a", "age"}, ByDestroyed: {"d", "destroyed"}}
}

// Orders lists the names of the orders.
func Orders() []string {
	var words []string
	for _, o := range orders() {
		words = append(words, o.word)
	}
	return words
}

// ParseOrder returns the order of a name, and reports whether it exists.
func ParseOrder(word string) (Order, bool) {
	i := slices.Index(Orders(), word)
	return Order(max(0, i)), i >= 0
}

// orderOf returns the order of a key, and reports whether it exists.
func orderOf(k key) (Order, bool) {
	for i, o := range orders() {
		if o.key == k {
			return Order(i), true
		}
	}
	return 0, false
}

// compare orders two rows: by the sort order, then by count and age, inert pods last, then by name. A total order keeps
// equal rows in place.
func (o Order) compare(a, b row) int {
	count, age, destroyed := cmp.Compare(b.total(), a.total()), cmp.Compare(b.a.Oldest, a.a.Oldest), cmp.Compare(b.destroyed(), a.destroyed())
	inert := cmp.Compare(len(a.a.Inert), 0) - cmp.Compare(len(b.a.Inert), 0) // last
	rest := cmp.Or(inert, cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
	switch o {
	case ByAge:
		return cmp.Or(age, count, rest)
	case ByDestroyed:
		return cmp.Or(destroyed, count, age, rest)
	case ByCount:
	}
	return cmp.Or(count, age, rest)
}
