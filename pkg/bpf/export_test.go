// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/cilium/ebpf"

// Detach keeps the kernel from running the program at state changes, until attach is called.
func Detach(p *Programs) (attach func() error, err error) {
	return p.attachStateChange, p.stateChange.Close()
}

// Stats returns how often the program ran at a state change, and for how long. The kernel counts that only while
// ebpf.EnableStats is in effect.
func Stats(p *Programs) (*ebpf.ProgramStats, error) { return p.objects.StateChange.Stats() }
