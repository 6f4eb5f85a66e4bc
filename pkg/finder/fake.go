// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"sync"

	"github.com/halfclose/halfclose/pkg/netns"
)

// Fake is a Finder for tests: the test makes its reports. Its methods may be called concurrently.
type Fake struct {
	name    string
	onSet   func(set []Netns, sink Sink)
	reports chan func(Sink)

	mu      sync.Mutex
	set     []Netns
	changed chan struct{} // closed when set is replaced
}

var _ Finder = (*Fake)(nil)

// NewFake returns a Fake with that name. If onSet is not nil, Find calls it with each set of network namespaces
// that it receives, and reports what onSet reports to sink.
func NewFake(name string, onSet func(set []Netns, sink Sink)) *Fake {
	return &Fake{name: name, onSet: onSet, reports: make(chan func(Sink)), changed: make(chan struct{})}
}

// Name returns the name that NewFake was called with.
func (f *Fake) Name() string { return f.name }

// Find implements Finder. It reports its State first, with its name alone, and returns no error.
func (f *Fake) Find(ctx context.Context, targets <-chan []Netns, sink Sink) error {
	f.replace(nil)
	sink.State(State{Name: f.name})
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.replace(set)
			if f.onSet != nil {
				f.onSet(set, sink)
			}
		case report := <-f.reports:
			report(sink)
		}
	}
}

// Refresh implements Finder. It returns nil: there is nothing to read.
func (f *Fake) Refresh(context.Context) error { return nil }

// replace replaces the set that Await looks at.
func (f *Fake) replace(set []Netns) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = set
	close(f.changed)
	f.changed = make(chan struct{})
}

// Report calls fn with the sink of Find, on the goroutine of Find, and returns after fn. It returns the error of
// ctx if Find does not run, or does not get to it, before ctx is done; fn has not run then.
func (f *Fake) Report(ctx context.Context, fn func(Sink)) error {
	done := make(chan struct{})
	select {
	case f.reports <- func(s Sink) { defer close(done); fn(s) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Await returns the network namespace with that identity once it is in the set that Find has received last, or
// the error of ctx.
func (f *Fake) Await(ctx context.Context, id netns.Identity) (Netns, error) {
	for {
		f.mu.Lock()
		set, changed := f.set, f.changed
		f.mu.Unlock()
		for _, n := range set {
			if n.Identity == id {
				return n, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Netns{}, ctx.Err()
		}
	}
}
