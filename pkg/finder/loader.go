// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"sync"

	"github.com/halfclose/halfclose/pkg/bpf"
)

// Programs are the BPF programs of a finder: *bpf.Programs.
type Programs interface {
	Watch(cookies []uint64) error
	Entries(found func(*bpf.Socket) error) error
	Walk(found func(*bpf.Holding) error) error
	Holders(found func(*bpf.Holder) error) error
	Forget(cookies []uint64) error
	Health() (bpf.Health, error)
	Close() error
}

// Kernel holds the BPF programs for those who use them: the finder, which loads them again when they are lost, and
// whoever looks for the owners of sockets. Its methods may be called from any goroutine.
type Kernel struct {
	loader func() (Programs, error)

	mu       sync.RWMutex // held for reading while the programs are used
	programs Programs     // nil: none are loaded
}

// LoadPrograms loads the programs; sockets is how many half-closed ones their set has room for, 0 for the usual
// number. The error says in an operator's words why they cannot be loaded.
func LoadPrograms(sockets int) (*Kernel, error) {
	return NewKernel(func() (Programs, error) { return bpf.Load(bpf.Options{MaxSockets: sockets}) })
}

// NewKernel is LoadPrograms with a loader of the caller's.
func NewKernel(loader func() (Programs, error)) (*Kernel, error) {
	k := &Kernel{loader: loader}
	return k, k.load()
}

// errNoPrograms says that the programs were lost, or closed.
var errNoPrograms = errors.New("no BPF programs are loaded")

// load loads the programs, in place of those that there may be.
func (k *Kernel) load() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.programs != nil {
		_ = k.programs.Close() // they are of no use any more
		k.programs = nil
	}
	p, err := k.loader()
	if err != nil {
		return err
	}
	k.programs = p
	return nil
}

// Close unloads the programs. They go with the process, too.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.programs == nil {
		return nil
	}
	err := k.programs.Close()
	k.programs = nil
	return err
}

// use runs fn on the programs.
func (k *Kernel) use(fn func(Programs) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.programs == nil {
		return errNoPrograms
	}
	return fn(k.programs)
}

func (k *Kernel) watch(cookies []uint64) error {
	return k.use(func(p Programs) error { return p.Watch(cookies) })
}

func (k *Kernel) entries(found func(*bpf.Socket) error) error {
	return k.use(func(p Programs) error { return p.Entries(found) })
}

func (k *Kernel) walk(found func(*bpf.Holding) error) error {
	return k.use(func(p Programs) error { return p.Walk(found) })
}

func (k *Kernel) forget(cookies []uint64) error {
	return k.use(func(p Programs) error { return p.Forget(cookies) })
}

func (k *Kernel) holders(found func(*bpf.Holder) error) error {
	return k.use(func(p Programs) error { return p.Holders(found) })
}

func (k *Kernel) health() (h bpf.Health, err error) {
	err = k.use(func(p Programs) (err error) {
		h, err = p.Health()
		return err
	})
	return h, err
}
