// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package pacing limits work to a share of the CPU time of one core.
package pacing

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// Pacer limits the CPU time of some work to a share of one core. Its balance grows at that share of real time, up to the
// share of one BurstWindow. The cost of a piece of work is known only afterwards, so the balance may become negative: then
// the next piece of work waits. It is not safe for concurrent use.
type Pacer struct {
	share   float64
	balance time.Duration
	at      monotime.Time // of the balance
}

// BurstWindow bounds the balance of an idle Pacer.
const BurstWindow = 10 * time.Second

// New returns a Pacer with the balance of one BurstWindow. share is a part of one core, such as 0.02.
func New(share float64, now monotime.Time) *Pacer {
	return &Pacer{share: share, balance: time.Duration(share * float64(BurstWindow)), at: now}
}

// update adds the share of the time since the last update to the balance.
func (p *Pacer) update(now monotime.Time) {
	p.balance = min(p.balance+time.Duration(p.share*float64(now.Sub(p.at))), time.Duration(p.share*float64(BurstWindow)))
	p.at = now
}

// Spend subtracts used CPU time from the balance.
func (p *Pacer) Spend(now monotime.Time, cpu time.Duration) {
	p.update(now)
	p.balance -= cpu
}

// SetShare changes the share from now on. The balance stays, up to the share of one BurstWindow.
func (p *Pacer) SetShare(now monotime.Time, share float64) {
	p.update(now)
	p.share = share
	p.update(now)
}

// Wait returns the time until the balance is not negative; 0 if it is not.
func (p *Pacer) Wait(now monotime.Time) time.Duration {
	p.update(now)
	if p.balance >= 0 {
		return 0
	}
	return time.Duration(float64(-p.balance)/p.share) + time.Microsecond
}

// WaitSpare is Wait for work without a deadline that costs about cpu: it leaves half of the full balance to
// other work, unless cpu alone is more than the other half.
func (p *Pacer) WaitSpare(now monotime.Time, cpu time.Duration) time.Duration {
	p.update(now)
	half := time.Duration(p.share * float64(BurstWindow) / 2)
	missing := half + min(cpu, half) - p.balance
	if missing <= 0 {
		return 0
	}
	return time.Duration(float64(missing)/p.share) + time.Microsecond
}

// MeasureCPU runs fn on one thread, and returns the CPU time that the thread has used for it, in user space and the kernel.
func MeasureCPU(fn func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	fn()
	return threadCPU() - before
}

// threadCPU returns the CPU time that the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail: the clock exists and &ts is valid
	return time.Duration(ts.Nano())
}
