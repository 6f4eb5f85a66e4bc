// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is how long the tick is (jiffy) by which the kernel's TCP counts time.
type ticks time.Duration

// readTicks asks for the resolution of a clock that is read once a tick.
func readTicks() (ticks, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("get the length of the kernel's tick: %w", err)
	}
	return ticks(ts.Nano()), nil
}

// duration is how long n ticks take, in whole milliseconds as tcp_info has it.
func (t ticks) duration(n uint32) time.Duration {
	return (time.Duration(n) * time.Duration(t)).Truncate(time.Millisecond)
}
