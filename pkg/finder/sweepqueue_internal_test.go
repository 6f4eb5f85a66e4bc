// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/netns"
)

func target(inode uint64, interval time.Duration) Netns {
	return Netns{Identity: netns.Identity{Inode: inode}, Interval: interval}
}

func TestANewNetnsIsDueAtOnce(t *testing.T) {
	q := newSweepQueue(dueNow)
	if q.peek() != nil {
		t.Error("an empty queue has an entry")
	}
	q.replace([]Netns{target(1, time.Minute), target(2, time.Second)}, moment(0))
	for range 2 {
		e := q.peek()
		if e.due != moment(0) {
			t.Errorf("%v is due at %v", e.netns.Identity, e.due.Sub(moment(0)))
		}
		q.reschedule(e, moment(time.Millisecond))
	}
	if e := q.peek(); e.netns.Identity.Inode != 2 || e.due != moment(time.Millisecond+time.Second) {
		t.Errorf("next is %v at %v", e.netns.Identity, e.due.Sub(moment(0)))
	}
}

func TestReplaceKeepsOrAdvancesTheDueTime(t *testing.T) {
	for name, tc := range map[string]struct {
		interval time.Duration // of the new set
		due      time.Duration
	}{
		"the same interval keeps the due time":    {time.Minute, time.Minute},
		"a longer interval keeps the due time":    {time.Hour, time.Minute},
		"a shorter interval makes it due earlier": {time.Second, 10*time.Second + time.Second},
		"the earlier of both due times counts":    {50 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			q := newSweepQueue(dueNow)
			q.replace([]Netns{target(1, time.Minute), target(2, time.Minute)}, moment(0))
			for range 2 {
				q.reschedule(q.peek(), moment(0))
			}
			now := moment(10 * time.Second)
			q.replace([]Netns{target(2, tc.interval), target(3, time.Minute)}, now)
			if e := q.peek(); e.netns.Identity.Inode != 3 || e.due != now {
				t.Errorf("next is %v, want the new one", e.netns.Identity)
			}
			q.reschedule(q.peek(), moment(time.Hour))
			if e := q.peek(); e.netns.Identity.Inode != 2 || e.due != moment(tc.due) {
				t.Errorf("then %v at %v, want the other at %v", e.netns.Identity, e.due.Sub(moment(0)), tc.due)
			}
			q.replace(nil, now)
			if q.peek() != nil {
				t.Error("a removed entry is still due")
			}
		})
	}
}

// TestEachNetnsIsDueInItsInterval replaces a random set repeatedly.
func TestEachNetnsIsDueInItsInterval(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	q := newSweepQueue(dueNow)
	at := moment(0)
	for range 200 {
		var set []Netns
		for inode := range uint64(20) {
			if rnd.IntN(3) > 0 {
				set = append(set, target(inode, time.Duration(1+rnd.IntN(10))*time.Second))
			}
		}
		q.replace(set, at)
		swept := make(map[uint64]int)
		for end := at.Add(20 * time.Second); at.Before(end); {
			e := q.peek()
			if e == nil || e.due.Sub(at) > 0 {
				at = at.Add(time.Second)
				continue
			}
			for other := range q.entries.While(func(*sweepEntry) bool { return true }) {
				if other.due < e.due {
					t.Fatalf("%v is due before the first entry", other.netns.Identity)
				}
			}
			swept[e.netns.Identity.Inode]++
			q.reschedule(e, at)
		}
		for _, e := range set {
			// At least twice: by its first due time, and then by its interval.
			if n := swept[e.Identity.Inode]; n < int(20*time.Second/e.Interval)-1 || n == 0 {
				t.Fatalf("%v was swept %d times in 20 s, with an interval of %v", e.Identity, n, e.Interval)
			}
		}
		if len(swept) != len(set) {
			t.Fatalf("%d of %d were swept", len(swept), len(set))
		}
	}
}
