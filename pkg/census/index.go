// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"iter"
	"slices"

	"github.com/halfclose/halfclose/pkg/state"
)

// index finds values by the netns that they name, and by their own key. A netns key whose cookie is unknown names all with its
// inode number: see state.NetnsKey.Names.
type index[K comparable, V any] struct {
	values            map[K][]V
	byCookie, byInode map[uint64]map[K]int // how many values of the key have the number
}

func newIndex[K comparable, V any]() *index[K, V] {
	return &index[K, V]{values: make(map[K][]V), byCookie: make(map[uint64]map[K]int), byInode: make(map[uint64]map[K]int)}
}

func (x *index[K, V]) add(of state.NetnsKey, key K, value V) {
	x.values[key] = append(x.values[key], value)
	addTo(x.byCookie, of.Cookie, key, 1)
	addTo(x.byInode, of.Inode, key, 1)
}

// remove removes the first value of the key that matches.
func (x *index[K, V]) remove(of state.NetnsKey, key K, matches func(V) bool) {
	values := x.values[key]
	i := slices.IndexFunc(values, matches)
	if i < 0 {
		return
	}
	if len(values) == 1 {
		delete(x.values, key)
	} else {
		x.values[key] = slices.Delete(values, i, i+1)
	}
	addTo(x.byCookie, of.Cookie, key, -1)
	addTo(x.byInode, of.Inode, key, -1)
}

func addTo[K comparable](by map[uint64]map[K]int, number uint64, key K, change int) {
	keys := by[number]
	if keys == nil {
		keys = make(map[K]int)
		by[number] = keys
	}
	if keys[key] += change; keys[key] == 0 {
		delete(keys, key)
	}
	if len(keys) == 0 {
		delete(by, number)
	}
}

// named yields the keys that may name a netns, each once: those with its cookie or its inode number.
func (x *index[K, V]) named(of state.NetnsKey) iter.Seq[K] {
	return func(yield func(K) bool) {
		same := x.byInode[of.Inode]
		for key := range same {
			if !yield(key) {
				return
			}
		}
		if of.Cookie == 0 {
			return // of kernels without cookies all are the same
		}
		for key := range x.byCookie[of.Cookie] {
			if _, ok := same[key]; !ok && !yield(key) {
				return
			}
		}
	}
}
