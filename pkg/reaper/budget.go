// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"golang.org/x/time/rate"
)

// budget bounds how many sockets are destroyed on this node in any one second. Once it is used up it is
// saved up again before it is spent: each turn of the loop costs more than a destroy.
type budget struct {
	limiter *rate.Limiter // nil: no bound
	saving  bool
}

// newBudget makes a budget of perSecond destroys, 0 for no bound. A bucket that holds b and fills at r
// lets r+b through in its worst second, so the two together make perSecond.
func newBudget(perSecond int) *budget {
	if perSecond == 0 {
		return &budget{}
	}
	burst := max(1, perSecond/50)
	return &budget{limiter: rate.NewLimiter(rate.Limit(max(1, perSecond-burst)), burst)}
}

// share returns how many sockets one of n namespaces may have destroyed now, at most limit, when wanted
// are waiting in all.
func (b *budget) share(now time.Time, wanted, n, limit int) int {
	if b.limiter == nil {
		return limit
	}
	if b.wait(now, wanted) > 0 {
		b.saving = true
		return 0
	}
	b.saving = false
	return min(limit, max(1, int(b.limiter.TokensAt(now))/max(1, n)))
}

// spend takes what was destroyed from the budget.
func (b *budget) spend(now time.Time, n int) {
	if b.limiter != nil {
		b.limiter.ReserveN(now, n)
	}
}

// wait returns how long to wait until there is something to spend on wanted sockets.
func (b *budget) wait(now time.Time, wanted int) time.Duration {
	if b.limiter == nil {
		return 0
	}
	need := 1
	if b.saving {
		need = max(1, min(wanted, b.limiter.Burst()))
	}
	missing := float64(need) - b.limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing/float64(b.limiter.Limit())*float64(time.Second)) + time.Microsecond
}
