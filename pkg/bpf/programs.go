// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/link"
)

// Options has the capacities of the programs' maps.
type Options struct {
	// MaxSockets is the capacity of the set of half-closed sockets, 0 for DefaultMaxSockets. One network namespace gets
	// four fifths of it at most. The kernel allocates about 200 bytes for each socket at once.
	MaxSockets int
	// MaxNamespaces is the maximum number of watched network namespaces, 0 for DefaultMaxNamespaces.
	MaxNamespaces int
}

// The defaults of Options.
const (
	DefaultMaxSockets    = 1 << 16
	DefaultMaxNamespaces = 4096
)

// Programs are the loaded and attached programs. Its methods may be called concurrently, but not from the functions
// that they call.
type Programs struct {
	objects     kernelObjects
	stateChange link.Link
	walk        *link.Iter
	descriptors *link.Iter
	ticks       ticks
	capacity    int // of the set

	reading   sync.Mutex // guards the buffers below
	keys      []uint64
	snapshots []kernelSnapshot
	output    []byte

	watching  sync.Mutex
	watched   map[uint64]struct{} // network namespaces, by cookie
	forgotten uint64              // sockets
}

// Load loads and attaches the programs. They watch no network namespace yet. The error is an *UnsupportedError.
func Load(o Options) (*Programs, error) {
	p := &Programs{watched: make(map[uint64]struct{}), capacity: o.MaxSockets}
	if p.capacity == 0 {
		p.capacity = DefaultMaxSockets
	}
	if o.MaxNamespaces == 0 {
		o.MaxNamespaces = DefaultMaxNamespaces
	}
	if err := p.load(o); err != nil {
		p.Close()
		return nil, explain(err, readMachine())
	}
	return p, nil
}

func (p *Programs) load(o Options) (err error) {
	if p.ticks, err = readTicks(); err != nil {
		return err
	}
	spec, err := loadKernel()
	if err != nil {
		return fmt.Errorf("read the programs: %w", err)
	}
	spec.Maps[kernelMapSockets].MaxEntries = uint32(p.capacity)
	spec.Maps[kernelMapWatched].MaxEntries = uint32(o.MaxNamespaces)
	spec.Maps[kernelMapRefused].MaxEntries = uint32(o.MaxNamespaces)
	if err := spec.Variables[kernelVarCapacity].Set(uint64(p.capacity)); err != nil {
		return fmt.Errorf("set the capacity of the set: %w", err)
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return fmt.Errorf("load the programs: %w", err)
	}
	if p.walk, err = link.AttachIter(link.IterOptions{Program: p.objects.Walk}); err != nil {
		return fmt.Errorf("attach the walk over half-closed sockets: %w", err)
	}
	if p.descriptors, err = link.AttachIter(link.IterOptions{Program: p.objects.Descriptors}); err != nil {
		return fmt.Errorf("attach the walk over descriptors: %w", err)
	}
	return p.attachStateChange()
}

func (p *Programs) attachStateChange() (err error) {
	p.stateChange, err = link.AttachTracing(link.TracingOptions{Program: p.objects.StateChange})
	if err != nil {
		return fmt.Errorf("attach to the tracepoint inet_sock_set_state: %w", err)
	}
	return nil
}

// Close unloads the programs; their set is lost. Closing again does nothing.
func (p *Programs) Close() error {
	var errs []error
	if p.stateChange != nil {
		errs = append(errs, p.stateChange.Close())
	}
	for _, l := range []*link.Iter{p.walk, p.descriptors} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	errs = append(errs, p.objects.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the programs: %w", err)
	}
	return nil
}
