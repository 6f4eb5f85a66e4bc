// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is the length of the kernel's tick (jiffy), in which its TCP counts time.
type ticks time.Duration

// readTicks returns the resolution of the coarse clock, which advances once a tick.
func readTicks() (ticks, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("get the length of the kernel's tick: %w", err)
	}
	return ticks(ts.Nano()), nil
}

// duration returns the length of n ticks, in whole milliseconds like tcp_info.
func (t ticks) duration(n uint32) time.Duration {
	return (time.Duration(n) * time.Duration(t)).Truncate(time.Millisecond)
}
