// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// pacer keeps what sweeping costs below a share of one core: it earns CPU time at that share of real time,
// saves at most ten seconds' earnings, and may run into debt, since a dump cannot be cut short.
type Pacer struct {
	share   float64
	balance time.Duration
	at      monotime.Time
}

// BurstWindow is how long a quiet pacer's earnings are kept.
const BurstWindow = 10 * time.Second

func NewPacer(share float64, now monotime.Time) *Pacer {
	return &Pacer{share: share, balance: time.Duration(share * float64(BurstWindow)), at: now}
}

func (p *Pacer) earn(now monotime.Time) {
	p.balance = min(p.balance+time.Duration(p.share*float64(now.Sub(p.at))), time.Duration(p.share*float64(BurstWindow)))
	p.at = now
}

// spend takes what was used from the balance.
func (p *Pacer) Spend(now monotime.Time, cpu time.Duration) {
	p.earn(now)
	p.balance -= cpu
}

// wait returns how long to wait until there is no debt.
func (p *Pacer) Wait(now monotime.Time) time.Duration {
	p.earn(now)
	if p.balance >= 0 {
		return 0
	}
	return time.Duration(float64(-p.balance)/p.share) + time.Microsecond
}

// MeasureCPU runs fn on one thread, and returns the CPU time that it took there.
func MeasureCPU(fn func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	fn()
	return threadCPU() - before
}

// threadCPU is the CPU time that the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail: the clock exists and &ts is valid
	return time.Duration(ts.Nano())
}
