// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// Pacer keeps the CPU time of some work below a share of one core. It earns CPU time at that share of real
// time, keeps what it earns in BurstWindow at most, and may run into debt, since a dump cannot be cut short.
// It is not safe for concurrent use.
type Pacer struct {
	share   float64
	balance time.Duration
	at      monotime.Time // of the balance
}

// BurstWindow is how long an idle Pacer keeps what it earns.
const BurstWindow = 10 * time.Second

// NewPacer returns a Pacer that has earned for one BurstWindow. share is a part of one core, such as 0.02.
func NewPacer(share float64, now monotime.Time) *Pacer {
	return &Pacer{share: share, balance: time.Duration(share * float64(BurstWindow)), at: now}
}

func (p *Pacer) earn(now monotime.Time) {
	p.balance = min(p.balance+time.Duration(p.share*float64(now.Sub(p.at))), time.Duration(p.share*float64(BurstWindow)))
	p.at = now
}

// Spend takes used CPU time from the balance.
func (p *Pacer) Spend(now monotime.Time, cpu time.Duration) {
	p.earn(now)
	p.balance -= cpu
}

// Wait returns how long it takes until there is no debt; 0 if there is none.
func (p *Pacer) Wait(now monotime.Time) time.Duration {
	p.earn(now)
	if p.balance >= 0 {
		return 0
	}
	return time.Duration(float64(-p.balance)/p.share) + time.Microsecond
}

// MeasureCPU runs fn on one thread, and returns the CPU time that fn has used there.
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
