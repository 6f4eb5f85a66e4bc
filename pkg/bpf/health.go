// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import "fmt"

// Health has the capacity of the set, and counts the events that the programs have missed since they were loaded.
type Health struct {
	Capacity int    // of the set, in sockets
	Overflow uint64 // sockets that did not fit into the set, or into the share of their network namespace: see Usage
	// Skipped counts state changes that did not reach the set: the kernel skips the program while it runs on the same
	// CPU, as in the interrupts of a burst, and an update of the set can fail for another reason than its size. A walk
	// repairs the set, so the caller walks as soon as the count grows.
	Skipped uint64
}

// Health reads the counters.
func (p *Programs) Health() (Health, error) {
	h := Health{Capacity: p.capacity}
	var lost uint64
	if err := p.objects.Overflow.Get(&h.Overflow); err != nil {
		return h, fmt.Errorf("read the programs' counters: %w", err)
	}
	if err := p.objects.Lost.Get(&lost); err != nil {
		return h, fmt.Errorf("read the programs' counters: %w", err)
	}
	stats, err := p.objects.StateChange.Stats()
	if err != nil {
		return h, fmt.Errorf("read the program's statistics: %w", err)
	}
	h.Skipped = stats.RecursionMisses + lost
	return h, nil
}
