// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package monotime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads the time. It has no timers: those of package time serve both clocks of this package.
type Clock interface {
	// Now returns the current time.
	Now() Time
	// Wall returns the current date and time, for people.
	Wall() time.Time
}

// System returns the kernel's clock, for a process in any time namespace.
func System() (Clock, error) {
	offset, err := namespaceOffset("/proc/self")
	if err != nil {
		return nil, err
	}
	return system{offset}, nil
}

// system is the kernel's clock. A time namespace has offsets that never change once a process is in it.
type system struct {
	offset time.Duration // of this process's time namespace from the initial one
}

func (c system) Now() Time {
	var ts unix.Timespec
	// The clock exists on every kernel that Go runs on, and &ts is valid: there is no error to return.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return Time(ts.Nano()).Add(-c.offset)
}

func (c system) Wall() time.Time { return time.Now() }

// Fake is a clock for tests. It follows time.Now, which is fake in a bubble of testing/synctest, like the timers of package
// time. Its times are not comparable with the kernel's.
type Fake struct{}

// Now implements Clock.
func (Fake) Now() Time { return Time(time.Now().UnixNano()) }

// Wall implements Clock.
func (Fake) Wall() time.Time { return time.Now() }
