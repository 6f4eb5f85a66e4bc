// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// clock reads how much CPU time has been used, by whom it is about.
type clock func() time.Duration

// self is the CPU time of this process, user and system; children that of its children that have ended, and
// of theirs.
func self() time.Duration     { return used(unix.RUSAGE_SELF) }
func children() time.Duration { return used(unix.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u) // cannot fail: who and &u are valid
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median is the value in the middle; there has to be one.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
