// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Health is how the programs are doing.
type Health struct {
	Capacity int    // of the set
	Overflow uint64 // how often a socket found no room in the set
	Lost     uint64 // how often one was not put into the set, or not taken out, for any other reason
	// Skipped is how often the kernel did not call the program because it was running on that processor, as its
	// interrupt worked off packets: so many changes of state were missed. Worth a walk as soon as it grows.
	Skipped uint64
	// Runs is how often the program was called at a change of state and RunTime how long that took. Both are zero
	// unless the kernel counts (sysctl kernel.bpf_stats_enabled).
	Runs    uint64
	RunTime time.Duration
	Memory  uint64 // of the kernel's that the maps take, in bytes
}

// Health tells how the programs are doing.
func (p *Programs) Health() (Health, error) {
	h := Health{Capacity: p.size}
	if err := p.objects.Overflow.Get(&h.Overflow); err != nil {
		return h, fmt.Errorf("read what the programs counted: %w", err)
	}
	if err := p.objects.Lost.Get(&h.Lost); err != nil {
		return h, fmt.Errorf("read what the programs counted: %w", err)
	}
	stats, err := p.objects.StateChange.Stats()
	if err != nil {
		return h, fmt.Errorf("read the program's statistics: %w", err)
	}
	h.Skipped, h.Runs, h.RunTime = stats.RecursionMisses, stats.RunCount, stats.Runtime
	for _, m := range []*ebpf.Map{p.objects.Sockets, p.objects.Watched} {
		info, err := m.Info()
		if err != nil {
			return h, fmt.Errorf("read the size of a map: %w", err)
		}
		if bytes, ok := info.Memlock(); ok {
			h.Memory += bytes
		}
	}
	return h, nil
}
