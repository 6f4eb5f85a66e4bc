// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"time"
)

// Histogram counts durations by how long they are.
type Histogram struct {
	Bounds []time.Duration // the upper bounds of the buckets, which include them; there is one more bucket above
	Counts []uint64        // of each bucket alone, one more than there are bounds
	Sum    time.Duration
}

func newHistogram(bounds ...time.Duration) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// observe counts a duration.
func (h *Histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(h.Bounds, d)
	h.Counts[i]++
	h.Sum += d
}

// clone returns a histogram that does not change any more.
func (h Histogram) clone() Histogram {
	h.Counts = slices.Clone(h.Counts)
	return h
}
