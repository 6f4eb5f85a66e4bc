// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Options says how to load the programs.
type Options struct {
	// MaxSockets is how many half-closed sockets the set can hold, 0 for DefaultMaxSockets. Each takes some 200
	// bytes of the kernel's memory from the start.
	MaxSockets int
	// MaxNamespaces is how many namespaces can be watched, 0 for DefaultMaxNamespaces.
	MaxNamespaces int
}

// The sizes where Options says nothing else.
const (
	DefaultMaxSockets    = 1 << 16
	DefaultMaxNamespaces = 4096
)

// Programs are the programs, loaded and running. Its methods may be called concurrently, but not from the
// functions that they call.
type Programs struct {
	objects kernelObjects
	change  *os.File // each is the program's being attached
	walk    *os.File
	holders *os.File
	ticks   ticks
	size    int // of the set

	reading sync.Mutex // the set, or what a walk found
	keys    []uint64
	looks   []kernelLook
	output  []byte

	watching sync.Mutex
	watched  map[uint64]struct{}
}

// Load loads the programs and begins to follow the watched namespaces: none yet. The error is an
// *UnsupportedError.
func Load(o Options) (*Programs, error) {
	p := &Programs{watched: make(map[uint64]struct{}), size: o.MaxSockets}
	if p.size == 0 {
		p.size = DefaultMaxSockets
	}
	if o.MaxNamespaces == 0 {
		o.MaxNamespaces = DefaultMaxNamespaces
	}
	if err := p.load(o); err != nil {
		p.Close()
		return nil, explain(err, thisMachine())
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
	spec.Maps[kernelMapSockets].MaxEntries = uint32(p.size)
	spec.Maps[kernelMapWatched].MaxEntries = uint32(o.MaxNamespaces)
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return fmt.Errorf("load the programs: %w", err)
	}
	if p.walk, err = attachIterator(p.objects.Walk); err != nil {
		return fmt.Errorf("attach the walk of processes: %w", err)
	}
	if p.holders, err = attachIterator(p.objects.Holders); err != nil {
		return fmt.Errorf("attach the walk of processes: %w", err)
	}
	if p.change, err = attachTracepoint(p.objects.StateChange); err != nil {
		return fmt.Errorf("attach to the changes of state: %w", err)
	}
	return nil
}

// Close ends the programs and forgets the set. Closing again does nothing.
func (p *Programs) Close() error {
	var errs []error
	for _, f := range []*os.File{p.change, p.walk, p.holders} {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, p.objects.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the programs: %w", err)
	}
	return nil
}
