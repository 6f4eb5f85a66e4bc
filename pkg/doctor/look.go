// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// seen is what a look saw, or why it saw nothing.
type seen[T any] struct {
	value T
	err   error // it did not come back in time
}

// looker looks at several things at the same time.
type looker struct {
	limit time.Duration
	slow  func(what string)

	all     sync.WaitGroup
	mu      sync.Mutex
	pending []string
}

// slowAfter is when somebody who waits is told what for.
const slowAfter = time.Second

// lateness is how much later than the limit a look may come back that heeds it: it can say itself how far it came,
// and the machine may be busy.
const lateness = time.Second

// start looks at one thing. A look that does not come back in time is left behind: a system call on a mount
// that hangs cannot be ended, and the process will.
func start[T any](ctx context.Context, l *looker, into *seen[T], what string, fn func(context.Context) T) {
	l.set(what, true)
	l.all.Go(func() {
		defer l.set(what, false)
		within, cancel := context.WithTimeout(ctx, l.limit)
		defer cancel()
		done := make(chan T, 1)
		go func() { done <- fn(within) }()
		late := time.NewTimer(l.limit + lateness)
		defer late.Stop()
		select {
		case into.value = <-done:
		case <-late.C:
			into.err = fmt.Errorf("no answer within %v", l.limit)
		case <-ctx.Done():
			into.err = context.Cause(ctx)
		}
	})
}

func (l *looker) set(what string, pending bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pending {
		l.pending = append(l.pending, what)
		return
	}
	l.pending = slices.DeleteFunc(l.pending, func(s string) bool { return s == what })
}

// wait waits for all looks.
func (l *looker) wait() {
	timer := time.AfterFunc(slowAfter, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.slow != nil && len(l.pending) > 0 {
			l.slow(strings.Join(l.pending, ", "))
		}
	})
	defer timer.Stop()
	l.all.Wait()
}

// judge judges what was seen; what was not seen is a finding of the check named.
func judge[T any](check string, s seen[T], fn func(T) []Finding) []Finding {
	if s.err != nil {
		return []Finding{{
			Check: check, Level: Warn, What: "could not be looked at: " + s.err.Error(),
			Do: "see what it waits for: a file system that hangs (the last lines of dmesg), or a node under heavy load; then run this again",
		}}
	}
	return fn(s.value)
}
