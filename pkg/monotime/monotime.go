// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package monotime has the clock of all times in halfclose: CLOCK_MONOTONIC of the initial time namespace.
//
// The standard library's monotonic reading counts from the start of the process, so it can neither be saved for the next
// process nor compared with the kernel's times. This clock counts from boot, is the same in every process, network namespace
// and time namespace, and equals bpf_ktime_get_ns.
package monotime

import "time"

// Time is in nanoseconds of the initial time namespace's CLOCK_MONOTONIC, which starts at boot. The zero Time means "never" or
// "unknown"; the clock never returns it.
type Time int64

// Add returns the time d later. It saturates instead of wrapping, so that a grace of "never" stays in the future.
func (t Time) Add(d time.Duration) Time {
	sum := t + Time(d)
	if d > 0 && sum < t {
		return 1<<63 - 1
	}
	return sum
}

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// IsZero reports whether t is the zero Time.
func (t Time) IsZero() bool { return t == 0 }
