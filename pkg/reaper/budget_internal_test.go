// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestBudgetLimitsEverySecond destroys as the loop does, at random times, some time after each grant, and checks every
// interval of one second.
func TestBudgetLimitsEverySecond(t *testing.T) {
	for _, perSecond := range []int{1, 2, 5, 49, 50, 99, 100, 1000, 7777} {
		t.Run(fmt.Sprintf("%d per second", perSecond), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(5, uint64(perSecond)))
			b := newBudget(perSecond)
			at := time.Unix(1_700_000_000, 0)
			end := at.Add(20 * time.Second)
			var destroyed []time.Time
			for at.Before(end) {
				wanted := 1 + rnd.IntN(100)
				switch rnd.IntN(20) {
				case 0: // nothing is overdue for a while
					at = at.Add(time.Duration(rnd.IntN(int(3 * time.Second))))
				case 1:
					at = at.Add(time.Duration(rnd.IntN(int(10 * time.Millisecond))))
				default:
					at = at.Add(b.wait(at, wanted))
				}
				grant := b.share(at, wanted, 1+rnd.IntN(4), maxJobSockets)
				done := at.Add(time.Duration(rnd.IntN(int(5 * time.Millisecond))))
				n := rnd.IntN(grant + 1) // fewer than the grant
				for range n {
					destroyed = append(destroyed, at.Add(time.Duration(rnd.Int64N(int64(done.Sub(at))+1))))
				}
				b.spend(done, n)
				at = done
			}
			checkSeconds(t, destroyed, perSecond)
		})
	}
}

// checkSeconds checks that no second has more than a number of the times, which are in order.
func checkSeconds(t *testing.T, times []time.Time, most int) {
	t.Helper()
	for i := most; i < len(times); i++ {
		if within := times[i].Sub(times[i-most]); within < time.Second {
			t.Fatalf("%d were destroyed within %v", most+1, within)
		}
	}
}

// TestBudgetIsUsedUp always has more sockets to destroy than the budget allows.
func TestBudgetIsUsedUp(t *testing.T) {
	for _, perSecond := range []int{1, 5, 100, 1000} {
		b := newBudget(perSecond)
		begin := time.Unix(1_700_000_000, 0)
		at, destroyed := begin, 0
		for at.Sub(begin) < 10*time.Second {
			wait := b.wait(at, 1000)
			at = at.Add(wait)
			grant := b.share(at, 1000, 3, maxJobSockets)
			if grant < 1 {
				t.Fatalf("nothing is granted after waiting for %v", wait)
			}
			b.spend(at, grant)
			destroyed += grant
		}
		if least := 10 * perSecond * 3 / 4; destroyed < least {
			t.Errorf("with %d per second, %d were destroyed in 10 s, want at least %d", perSecond, destroyed, least)
		}
	}
}

func TestBudgetShares(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for name, tc := range map[string]struct{ perSecond, wanted, namespaces, limit, want int }{
		"no bound gives all that may be asked for":     {0, 1000, 3, 256, 256},
		"what there is, to one":                        {1000, 1000, 1, 256, 20},
		"what there is, in equal parts":                {2000, 1000, 4, 256, 10},
		"at least a batch, to the first of many":       {1000, 1000, 500, 256, destroyBatch},
		"no more than asked for":                       {1000, 1000, 1, 3, 3},
		"for no namespace at all it is as for one":     {1000, 1000, 0, 256, 20},
		"a small bound gives one at a time":            {5, 60, 3, 256, 1},
		"the smallest bound gives one":                 {1, 60, 1, 256, 1},
		"a bound larger than a job gives no more than": {1_000_000, 100_000, 1, 256, 256},
	} {
		if got := newBudget(tc.perSecond).share(now, tc.wanted, tc.namespaces, tc.limit); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
	if wait := newBudget(0).wait(now, 9); wait != 0 {
		t.Errorf("without a bound, the wait is %v", wait)
	}
}

// TestUsedUpBudgetCollectsABurst spends the whole budget: the next grant waits until it is large enough for a burst.
func TestUsedUpBudgetCollectsABurst(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for wanted, want := range map[int]time.Duration{
		1: time.Second / 980, 10: 10 * time.Second / 980, 20: 20 * time.Second / 980,
		500: 20 * time.Second / 980, // no more can be saved
	} {
		b := newBudget(1000)
		b.spend(now, 20)
		if got := b.share(now, wanted, 1, maxJobSockets); got != 0 {
			t.Errorf("when it is spent, %d are granted", got)
		}
		wait := b.wait(now, wanted)
		if wait < want || wait > want+10*time.Microsecond {
			t.Errorf("for %d, the wait is %v, want %v", wanted, wait, want)
		}
		if got := b.share(now.Add(wait), wanted, 1, maxJobSockets); got != min(wanted, 20) {
			t.Errorf("for %d, %d are granted after the wait", wanted, got)
		}
	}
}
