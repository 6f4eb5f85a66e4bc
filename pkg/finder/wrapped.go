// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"slices"
)

// Wrapped is a Finder for tests: it changes the sets that another finder receives, and the reports that it makes.
type Wrapped struct {
	Finder
	// Target changes each network namespace of each set; nil changes none.
	Target func(*Netns)
	// Sink returns the sink of Finder, which passes on to sink the reports that it does not change; nil stands for sink
	// itself.
	Sink func(sink Sink) Sink
}

// Find implements Finder.
func (w Wrapped) Find(ctx context.Context, targets <-chan []Netns, sink Sink) error {
	if w.Sink != nil {
		sink = w.Sink(sink)
	}
	if w.Target == nil {
		return w.Finder.Find(ctx, targets, sink)
	}
	changed, done := make(chan []Netns, 1), make(chan struct{})
	defer func() { <-done }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(done)
		w.changeTargets(ctx, targets, changed)
	}()
	return w.Finder.Find(ctx, changed, sink)
}

// changeTargets passes on each set, changed, until ctx is done.
func (w Wrapped) changeTargets(ctx context.Context, targets <-chan []Netns, changed chan<- []Netns) {
	for {
		select {
		case <-ctx.Done():
			return
		case set := <-targets:
			set = slices.Clone(set)
			for i := range set {
				w.Target(&set[i])
			}
			select {
			case changed <- set:
			case <-ctx.Done():
				return
			}
		}
	}
}
