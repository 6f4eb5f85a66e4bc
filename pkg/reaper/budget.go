// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"golang.org/x/time/rate"
)

// budget bounds how many sockets are destroyed on this node in any one second.
type budget struct {
	limiter *rate.Limiter // nil: no bound
}

// newBudget makes a budget of perSecond destroys, 0 for no bound. A bucket that holds b and fills at r
// lets r+b through in its worst second, so the two together make perSecond.
func newBudget(perSecond int) budget {
	if perSecond == 0 {
		return budget{}
	}
	burst := max(1, perSecond/50)
	return budget{rate.NewLimiter(rate.Limit(max(1, perSecond-burst)), burst)}
}

// share returns how many sockets one of n namespaces may have destroyed now, at most limit.
func (b budget) share(now time.Time, n, limit int) int {
	if b.limiter == nil {
		return limit
	}
	tokens := int(b.limiter.TokensAt(now))
	if tokens < 1 {
		return 0
	}
	return min(limit, max(1, tokens/max(1, n)))
}

// spend takes what was destroyed from the budget.
func (b budget) spend(now time.Time, n int) {
	if b.limiter != nil {
		b.limiter.ReserveN(now, n)
	}
}

// wait returns how long to wait for the next destroy.
func (b budget) wait(now time.Time) time.Duration {
	if b.limiter == nil {
		return 0
	}
	missing := 1 - b.limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing/float64(b.limiter.Limit())*float64(time.Second)) + time.Microsecond
}
