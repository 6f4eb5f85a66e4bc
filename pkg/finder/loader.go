// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"sync"

	"github.com/halfclose/halfclose/pkg/bpf"
)

// Loader loads the BPF programs and shares them between the finder, which reloads them after a failure, and the
// search for owners. It implements Programs and OwnerPrograms by the programs that are loaded now. Its methods
// may be called concurrently, but not from the functions that they call.
type Loader struct {
	load func() (LoadedPrograms, error)

	mu     sync.RWMutex   // held for reading while the programs are used
	loaded LoadedPrograms // nil: none
}

var (
	_ LoadedPrograms = (*Loader)(nil)
	_ LoadedPrograms = (*bpf.Programs)(nil)
)

// LoadPrograms loads the programs. sockets is the capacity of their set of half-closed sockets, 0 for the
// default. The error is the reason, in an operator's words.
func LoadPrograms(sockets int) (*Loader, error) {
	return NewLoader(func() (LoadedPrograms, error) { return bpf.Load(bpf.Options{MaxSockets: sockets}) })
}

// NewLoader is LoadPrograms with a load function of the caller's.
func NewLoader(load func() (LoadedPrograms, error)) (*Loader, error) {
	l := &Loader{load: load}
	return l, l.Reload()
}

// errNotLoaded means that the last load failed, or that the Loader is closed.
var errNotLoaded = errors.New("no BPF programs are loaded")

// Reload unloads the programs, if any are loaded, and loads them again, with empty sets.
func (l *Loader) Reload() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded != nil {
		_ = l.loaded.Close() // they cannot be used any more, even if it fails
		l.loaded = nil
	}
	p, err := l.load()
	if err != nil {
		return err
	}
	l.loaded = p
	return nil
}

// Close unloads the programs. The kernel also unloads them when the process exits.
func (l *Loader) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded == nil {
		return nil
	}
	err := l.loaded.Close()
	l.loaded = nil
	return err
}

// use runs fn on the programs.
func (l *Loader) use(fn func(LoadedPrograms) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.loaded == nil {
		return errNotLoaded
	}
	return fn(l.loaded)
}

// Watch implements Programs.
func (l *Loader) Watch(cookies []uint64) error {
	return l.use(func(p LoadedPrograms) error { return p.Watch(cookies) })
}

// Entries implements Programs.
func (l *Loader) Entries(visit func(*bpf.Socket) error) error {
	return l.use(func(p LoadedPrograms) error { return p.Entries(visit) })
}

// Walk implements Programs.
func (l *Loader) Walk(visit func(*bpf.OwnedSocket) error) error {
	return l.use(func(p LoadedPrograms) error { return p.Walk(visit) })
}

// Forget implements Programs.
func (l *Loader) Forget(cookies []uint64) error {
	return l.use(func(p LoadedPrograms) error { return p.Forget(cookies) })
}

// Health implements Programs.
func (l *Loader) Health() (h bpf.Health, err error) {
	err = l.use(func(p LoadedPrograms) (err error) {
		h, err = p.Health()
		return err
	})
	return h, err
}

// Usage implements Programs.
func (l *Loader) Usage() (list []bpf.Usage, err error) {
	err = l.use(func(p LoadedPrograms) (err error) {
		list, err = p.Usage()
		return err
	})
	return list, err
}

// Descriptors implements OwnerPrograms.
func (l *Loader) Descriptors(visit func(*bpf.Descriptor) error) error {
	return l.use(func(p LoadedPrograms) error { return p.Descriptors(visit) })
}
