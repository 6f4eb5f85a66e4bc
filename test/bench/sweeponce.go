// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/finder"
)

// sweepOnce is a finder that looks at each of the first set of namespaces once, and then no more.
type sweepOnce struct {
	finder.Finder
	swept chan struct{} // closed after that
}

// Find returns an error if a namespace could not be looked into.
func (o *sweepOnce) Find(ctx context.Context, targets <-chan []finder.Target, found func(...finder.Finding)) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	set := make(chan []finder.Target, 1)
	var left int
	select {
	case first := <-targets:
		left = len(first)
		set <- first
	case <-ctx.Done():
		return nil
	}
	var failed error
	err := o.Finder.Find(inner, set, func(findings ...finder.Finding) {
		found(findings...)
		for _, f := range findings {
			if f.Err != nil {
				failed = errors.Join(failed, f.Err)
				stop()
			}
			if !f.Swept.IsZero() {
				if left--; left == 0 {
					stop()
				}
			}
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if left == 0 {
		close(o.swept)
	}
	<-ctx.Done()
	return nil
}
