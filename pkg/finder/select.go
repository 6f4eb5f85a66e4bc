// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"fmt"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// The finders that can be asked for.
const (
	NameAuto     = "auto"
	NameSockDiag = "sockdiag"
	NameBPF      = "bpf"
)

// Names lists them.
func Names() []string { return []string{NameAuto, NameSockDiag, NameBPF} }

// Senses is what a reaper finds sockets and their owners by.
type Senses struct {
	Finder Finder
	Owners owners.Resolver
	close  func() error
}

// Close lets go of what the kernel keeps for them, once the reaper has ended.
func (s *Senses) Close() error { return s.close() }

// Choose makes the finder of that name and what goes with it. auto takes bpf where it can be had, and else
// sockdiag, which then says why. cpuBudget is the share of one core that finding may cost.
func Choose(name string, load func() (*Kernel, error), root *netns.Root, cpuBudget float64) (*Senses, error) {
	proc := owners.NewProc("/proc")
	fallback := &Senses{Finder: NewSockDiag(root, cpuBudget), Owners: proc, close: func() error { return nil }}
	if name == NameSockDiag {
		return fallback, nil
	}
	kernel, err := load()
	switch {
	case err == nil:
		return &Senses{Finder: NewBPF(BPFConfig{Kernel: kernel, Root: root, CPUBudget: cpuBudget}), Owners: &walkOwners{kernel: kernel, proc: proc}, close: kernel.Close}, nil
	case name == NameBPF:
		return nil, fmt.Errorf("finder bpf: %w; use --finder auto or sockdiag, which finds the same at a higher cost", err)
	}
	f := NewSockDiag(root, cpuBudget)
	f.why = "bpf cannot be used: " + err.Error()
	fallback.Finder = f
	return fallback, nil
}
