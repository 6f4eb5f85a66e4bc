// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/model"
)

// canary measures for how long this machine does not run a thread that is ready: what halfclose cannot be blamed for.
type canary struct {
	mu     sync.Mutex
	stalls []model.Interval // in their order
}

const (
	canarySleep = 10 * time.Millisecond
	canaryWork  = 200 * time.Microsecond // of CPU time in each round: a reaper works too, it does not only wake
	canarySlack = 2 * time.Millisecond   // of timers
)

// run measures until ctx is done.
func (c *canary) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		began := model.Now()
		time.Sleep(canarySleep)
		for end := threadCPU() + canaryWork; threadCPU() < end; {
		}
		now := model.Now()
		if late := now - began - canarySleep - canaryWork; late > canarySlack {
			c.mu.Lock()
			c.stalls = append(c.stalls, model.Interval{From: now - late, To: now})
			c.mu.Unlock()
		}
	}
}

func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // exists on every kernel that Go runs on
	return time.Duration(ts.Nano())
}

// stalled returns the stalled time between two times.
func (c *canary) stalled(from, to model.Time) (sum time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.stalls) - 1; i >= 0 && c.stalls[i].To > from; i-- {
		sum += max(min(c.stalls[i].To, to)-max(c.stalls[i].From, from), 0)
	}
	return sum
}
