// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"golang.org/x/time/rate"
)

// budget is the rate limit on this node's destroys. Once it is used up it collects a whole burst before the next
// destroy: an iteration of the loop costs more than a destroy.
type budget struct {
	limiter    *rate.Limiter // nil: no limit
	collecting bool
}

// newBudget returns a budget of perSecond destroys, 0 for no limit. A bucket of size b that fills at rate r lets r+b
// through in its worst second, so their sum is perSecond.
func newBudget(perSecond int) *budget {
	if perSecond == 0 {
		return &budget{}
	}
	burst := max(1, perSecond/50)
	return &budget{limiter: rate.NewLimiter(rate.Limit(max(1, perSecond-burst)), burst)}
}

// share returns how many sockets may be destroyed now in one of n network namespaces, at most limit. wanted is the
// number of waiting sockets in all of them. It is a batch if the budget has that many: to enter a network namespace for each
// socket costs more than the destroys.
func (b *budget) share(now time.Time, wanted, n, limit int) int {
	if b.limiter == nil {
		return limit
	}
	if b.wait(now, wanted) > 0 {
		b.collecting = true
		return 0
	}
	b.collecting = false
	tokens := int(b.limiter.TokensAt(now))
	return min(limit, max(1, tokens/max(1, n), min(tokens, destroyBatch)))
}

// spend subtracts n destroys.
func (b *budget) spend(now time.Time, n int) {
	if b.limiter != nil {
		b.limiter.ReserveN(now, n)
	}
}

// wait returns the time until a destroy is allowed; while the budget collects, until a burst is, or until all wanted
// sockets may be destroyed.
func (b *budget) wait(now time.Time, wanted int) time.Duration {
	if b.limiter == nil {
		return 0
	}
	need := 1
	if b.collecting {
		need = max(1, min(wanted, b.limiter.Burst()))
	}
	missing := float64(need) - b.limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing/float64(b.limiter.Limit())*float64(time.Second)) + time.Microsecond
}
