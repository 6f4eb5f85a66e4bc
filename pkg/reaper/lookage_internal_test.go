// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestNoDestroyIsSentAfterALookThatIsTooOld(t *testing.T) {
	for name, tc := range map[string]struct {
		sockets int
		pause   func(nth int) time.Duration // before the nth destroy is sent
		looks   []int                       // number of sockets of each look
		old     uint64
		bound   time.Duration
	}{
		"without a pause one look serves eight": {
			10, func(int) time.Duration { return 0 }, []int{8, 2}, 0, minLookAge,
		},
		"a pause of a millisecond is none": {
			2, func(nth int) time.Duration { return []time.Duration{time.Millisecond, 0}[nth] }, []int{2}, 0, minLookAge,
		},
		"what waits after a pause is looked at again, the rest is not": {
			4, func(nth int) time.Duration { return map[int]time.Duration{2: 2 * time.Millisecond}[nth] }, []int{4, 2}, 2, minLookAge,
		},
		"after three looks in vain it looks at one at a time": {
			2, func(nth int) time.Duration {
				return map[int]time.Duration{0: 2 * time.Millisecond, 2: 2 * time.Millisecond, 4: 2 * time.Millisecond}[nth]
			}, []int{2, 2, 2, 1, 1}, 6, minLookAge,
		},
		"where each pause is of 30 ms it waits for a bound of 32": {
			1, func(int) time.Duration { return 30 * time.Millisecond }, slices.Repeat([]int{1}, 15), 14, 32 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns := newTestLoop(t, policy.Destroy)
				time.Sleep(time.Hour)
				for i := range tc.sockets {
					see(l, ns.Identity, overdueLook(uint64(i+1)))
				}
				j, nth := nextOf(t, l, tc.sockets), 0
				k := &kernel{pause: func(uint64) { time.Sleep(tc.pause(nth)); nth++ }}
				k.examine(j)
				if len(k.destroyed) != tc.sockets || j.tried != tc.sockets {
					t.Errorf("destroyed %v, counted %d", k.destroyed, j.tried)
				}
				if !slices.Equal(k.looks, tc.looks) || j.old != tc.old {
					t.Errorf("looks %v, %d too old; want %v, %d", k.looks, j.old, tc.looks, tc.old)
				}
				for i, x := range j.results {
					if x.event != eventDestroyed || x.sent.Sub(x.at) > tc.bound {
						t.Errorf("socket %d: %v, sent %v after its look", i, x.event, x.sent.Sub(x.at))
					}
				}
				l.examined(j, now())
				if l.counts.LooksTooOld != tc.old || l.warnedLookAge != (tc.bound > minLookAge) {
					t.Errorf("counted %d looks, warned: %t", l.counts.LooksTooOld, l.warnedLookAge)
				}
			})
		})
	}
}

func TestSocketUsedAfterALookThatIsTooOldSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		time.Sleep(time.Hour)
		see(l, ns.Identity, overdueLook(1), overdueLook(2))
		k := new(kernel)
		k.pause = func(cookie uint64) {
			if len(k.looks) == 1 && cookie == 1 {
				time.Sleep(200 * time.Millisecond)
				k.written = map[uint64]uint64{2: 100}
			}
		}
		j := nextOf(t, l, 2)
		k.examine(j)
		l.examined(j, now())
		if !slices.Equal(k.destroyed, []uint64{1}) || ns.candidates[2] == nil || ns.candidates[2].step.phase != phaseTimed {
			t.Errorf("destroyed %v; the other: %+v", k.destroyed, ns.candidates[2])
		}
	})
}

func TestAllowedAgeOfALookIsBounded(t *testing.T) {
	a := lookAge{tooOld: 1_000_000}
	if got := a.bound(); got != maxLookAge {
		t.Errorf("%v", got)
	}
	if a.update(false); a.bound() != minLookAge || a.batch() != destroyBatch {
		t.Errorf("after a look in time the bound is %v for %d sockets", a.bound(), a.batch())
	}
}
