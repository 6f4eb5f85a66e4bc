// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPacerNeverExceedsItsShare sweeps as often as the pacer lets it, at any price.
func TestPacerNeverExceedsItsShare(t *testing.T) {
	for _, share := range []float64{0.001, 0.02, 0.5, 1} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, 8))
			begin := moment(0)
			p, at := NewPacer(share, begin), begin
			var spent, dearest time.Duration
			for range 10_000 {
				at = at.Add(p.Wait(at))
				if rnd.IntN(50) == 0 {
					at = at.Add(time.Duration(rnd.Int64N(int64(time.Minute)))) // nothing was due
				}
				cost := time.Duration(rnd.Int64N(int64(50 * time.Millisecond)))
				at = at.Add(cost) // real time passes too
				p.Spend(at, cost)
				spent, dearest = spent+cost, max(dearest, cost)
				if most := time.Duration(share*float64(at.Sub(begin)+BurstWindow)) + dearest; spent > most {
					t.Fatalf("%v were spent within %v, at most %v may be", spent, at.Sub(begin), most)
				}
			}
		})
	}
}

func TestPacerWaitsAsLongAsItsDebtAsksFor(t *testing.T) {
	const share = 0.02
	p := NewPacer(share, moment(0))
	if wait := p.Wait(moment(0)); wait != 0 {
		t.Errorf("a new one waits %v", wait)
	}
	// It has saved 200 ms. A dump that costs 300 ms makes a debt of 100 ms: 5 s at 2 %.
	p.Spend(moment(0), 300*time.Millisecond)
	if wait := p.Wait(moment(0)); wait < 5*time.Second || wait > 5*time.Second+time.Millisecond {
		t.Errorf("with a debt of 100 ms it waits %v, want 5 s", wait)
	}
	if wait := p.Wait(moment(2 * time.Second)); wait < 3*time.Second || wait > 3*time.Second+time.Millisecond {
		t.Errorf("after 2 s it waits %v more, want 3 s", wait)
	}
	if wait := p.Wait(moment(5*time.Second + time.Millisecond)); wait != 0 {
		t.Errorf("when its debt is paid it waits %v", wait)
	}
	// However long it is quiet, it saves no more than ten seconds' share.
	p.Spend(moment(time.Hour), 201*time.Millisecond)
	if wait := p.Wait(moment(time.Hour)); wait == 0 {
		t.Error("it saved more in an hour than in ten seconds")
	}
}

func TestThreadCPUIsWhatTheThreadHasUsed(t *testing.T) {
	before, began := threadCPU(), time.Now()
	var ru unix.Rusage
	for threadCPU()-before < time.Millisecond && time.Since(began) < 30*time.Second {
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &ru)
	}
	if threadCPU() <= before {
		t.Error("working costs nothing")
	}
}
