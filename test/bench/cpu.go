// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// clock returns a CPU time.
type clock func() time.Duration

// self returns the CPU time of this process, user and system. children returns that of its reaped descendants.
func self() time.Duration     { return used(unix.RUSAGE_SELF) }
func children() time.Duration { return used(unix.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u) // cannot fail: who and &u are valid
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median returns the middle value. It needs at least one.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
