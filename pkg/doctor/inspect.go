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

// inspected is the result of an inspection, or why there is none.
type inspected[T any] struct {
	value T
	err   error // it did not return in time
}

// inspector runs inspections concurrently.
type inspector struct {
	limit time.Duration
	slow  func(what string)

	all     sync.WaitGroup
	mu      sync.Mutex
	pending []string
}

// slowAfter is when pending inspections are reported to the user.
const slowAfter = time.Second

// limitTolerance is how much longer than the limit an inspection may take if it observes its context: it can then report
// its own progress, and the machine may be busy.
const limitTolerance = time.Second

// start runs one inspection. An inspection that does not return in time is abandoned: a system call on a mount that hangs
// cannot be interrupted, and the process exits soon.
func start[T any](ctx context.Context, i *inspector, into *inspected[T], what string, fn func(context.Context) T) {
	i.setPending(what, true)
	i.all.Go(func() {
		defer i.setPending(what, false)
		limited, cancel := context.WithTimeout(ctx, i.limit)
		defer cancel()
		done := make(chan T, 1)
		go func() { done <- fn(limited) }()
		deadline := time.NewTimer(i.limit + limitTolerance)
		defer deadline.Stop()
		select {
		case into.value = <-done:
		case <-deadline.C:
			into.err = fmt.Errorf("no answer within %v", i.limit)
		case <-ctx.Done():
			into.err = context.Cause(ctx)
		}
	})
}

func (i *inspector) setPending(what string, pending bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if pending {
		i.pending = append(i.pending, what)
		return
	}
	i.pending = slices.DeleteFunc(i.pending, func(s string) bool { return s == what })
}

// wait waits for all inspections.
func (i *inspector) wait() {
	timer := time.AfterFunc(slowAfter, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.slow != nil && len(i.pending) > 0 {
			i.slow(strings.Join(i.pending, ", "))
		}
	})
	defer timer.Stop()
	i.all.Wait()
}

// report returns the findings about an inspection's value. If the inspection did not return, each check that depends on
// it has a finding with the reason.
func report[T any](s inspected[T], fn func(T) []Finding, checks ...string) []Finding {
	if s.err == nil {
		return fn(s.value)
	}
	var findings []Finding
	for _, check := range checks {
		findings = append(findings, Finding{
			Check: check, Level: Warn, What: "could not be checked: " + s.err.Error(),
			Do: "look for a file system that hangs (the last lines of dmesg) or a heavy load, and run this again",
		})
	}
	return findings
}

// maxNames bounds the names in one finding.
const maxNames = 3

// firstNames returns the first names of a list.
func firstNames[T any](list []T, name func(T) string) string {
	var names []string
	for _, v := range list[:min(len(list), maxNames)] {
		names = append(names, name(v))
	}
	text := strings.Join(names, ", ")
	if more := len(list) - maxNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
