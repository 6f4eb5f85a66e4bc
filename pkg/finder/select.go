// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"fmt"

	"github.com/halfclose/halfclose/pkg/owners"
)

// The values of --finder.
const (
	NameAuto     = "auto"
	NameSockDiag = "sockdiag"
	NameBPF      = "bpf"
)

// Names lists the values of --finder.
func Names() []string { return []string{NameAuto, NameSockDiag, NameBPF} }

// Backend is the finder and the owner lookup that Select has chosen for this kernel.
type Backend struct {
	Finder Finder
	Owners owners.Resolver
	close  func() error
}

// Close unloads the BPF programs, if any. The caller stops the finder first.
func (b *Backend) Close() error { return b.close() }

// Select returns the finder with that name. NameAuto stands for bpf where load succeeds, else for sockdiag, whose
// State then has the error of load. cpuBudget is the share of one core that finding may cost.
func Select(name string, load func() (*Loader, error), c Config) (*Backend, error) {
	if name == NameSockDiag {
		return sockDiagBackend(c, ""), nil
	}
	loader, err := load()
	switch {
	case err == nil:
		return &Backend{
			Finder: NewBPF(BPFConfig{Config: c, Loader: loader}),
			Owners: &programResolver{programs: loader, proc: owners.NewProc("/proc")},
			close:  loader.Close,
		}, nil
	case name == NameBPF:
		return nil, fmt.Errorf("finder bpf: %w; use --finder auto or sockdiag, which finds the same at a higher cost", err)
	}
	return sockDiagBackend(c, "bpf cannot be used: "+err.Error()), nil
}

func sockDiagBackend(c Config, why string) *Backend {
	return &Backend{
		Finder: newSockDiag(c, why), Owners: owners.NewProc("/proc"), close: func() error { return nil },
	}
}
