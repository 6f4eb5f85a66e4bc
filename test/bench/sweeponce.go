// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweepOnce is a finder that sweeps the first set of namespaces once, and then stops.
type sweepOnce struct {
	finder.Finder
	swept chan struct{} // closed after that
}

// Find returns an error if a namespace cannot be swept.
func (o *sweepOnce) Find(ctx context.Context, targets <-chan []finder.Netns, sink finder.Sink) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	set := make(chan []finder.Netns, 1)
	once := onceSink{Sink: sink, stop: stop}
	select {
	case first := <-targets:
		once.left = len(first)
		set <- first
	case <-ctx.Done():
		return nil
	}
	err := o.Finder.Find(inner, set, &once)
	if err = errors.Join(err, once.failed); err != nil {
		return err
	}
	if once.left == 0 {
		close(o.swept)
	}
	<-ctx.Done()
	return nil
}

// onceSink stops a finder once the sweeps are of left namespaces, or one has failed.
type onceSink struct {
	finder.Sink
	stop   func()
	left   int
	failed error
}

func (s *onceSink) Swept(sweep finder.Sweep) {
	s.Sink.Swept(sweep)
	if s.left -= len(sweep.Netns); s.left == 0 {
		s.stop()
	}
}

func (s *onceSink) Failed(id netns.Identity, err error) {
	s.Sink.Failed(id, err)
	s.failed = errors.Join(s.failed, err)
	s.stop()
}
