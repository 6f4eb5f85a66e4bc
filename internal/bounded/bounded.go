// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package bounded waits a bounded time for calls that may hang, such as those on FUSE or NFS without its server.
package bounded

import "time"

// Result is what a call has returned.
type Result[T any] struct {
	Value T
	Err   error
}

// Call returns the result of do, and a nil channel. If do has not returned after the patience, it continues on a thread of its own,
// and late gets its result.
func Call[T any](patience time.Duration, do func() (T, error)) (r Result[T], late <-chan Result[T]) {
	done := make(chan Result[T], 1)
	go func() {
		value, err := do()
		done <- Result[T]{value, err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r = <-done:
		return r, nil
	case <-timer.C:
	}
	select {
	case r = <-done: // this process was stopped or did not run
		return r, nil
	default:
		return r, done
	}
}
