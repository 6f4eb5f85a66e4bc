// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pacing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// moment returns a time long after boot.
func moment(d time.Duration) monotime.Time { return monotime.Time(24 * time.Hour).Add(d) }

// TestPacerNeverExceedsItsShare works as often as the pacer allows, at random costs.
func TestPacerNeverExceedsItsShare(t *testing.T) {
	for _, share := range []float64{0.001, 0.02, 0.5, 1} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, 8))
			begin := moment(0)
			p, at := New(share, begin), begin
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
					t.Fatalf("%v spent within %v, want at most %v", spent, at.Sub(begin), most)
				}
			}
		})
	}
}

func TestPacerWaitsUntilItsBalanceIsNotNegative(t *testing.T) {
	const share = 0.02
	p := New(share, moment(0))
	if wait := p.Wait(moment(0)); wait != 0 {
		t.Errorf("a new pacer waits %v", wait)
	}
	// Its balance is 200 ms. Work of 300 ms leaves -100 ms: 5 s at 2 %.
	p.Spend(moment(0), 300*time.Millisecond)
	if wait := p.Wait(moment(0)); wait < 5*time.Second || wait > 5*time.Second+time.Millisecond {
		t.Errorf("with a balance of -100 ms it waits %v, want 5 s", wait)
	}
	if wait := p.Wait(moment(2 * time.Second)); wait < 3*time.Second || wait > 3*time.Second+time.Millisecond {
		t.Errorf("after 2 s it waits another %v, want 3 s", wait)
	}
	if wait := p.Wait(moment(5*time.Second + time.Millisecond)); wait != 0 {
		t.Errorf("with a balance of 0 it waits %v", wait)
	}
	// The balance is bounded by the share of ten seconds.
	p.Spend(moment(time.Hour), 201*time.Millisecond)
	if wait := p.Wait(moment(time.Hour)); wait == 0 {
		t.Error("the balance has grown beyond the share of ten seconds")
	}
}

func TestSpareWorkLeavesHalfOfTheBalance(t *testing.T) {
	const share = 0.02 // a full balance is 200 ms
	for _, tc := range []struct {
		spent, cpu, want time.Duration
	}{
		{0, 0, 0},
		{0, 100 * time.Millisecond, 0},
		{0, time.Second, 0}, // dearer work can never be paid from one half
		{60 * time.Millisecond, 40 * time.Millisecond, 0},
		{60 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond},
		{100 * time.Millisecond, 0, 0},
		{200 * time.Millisecond, 0, 5 * time.Second},
		{300 * time.Millisecond, 10 * time.Millisecond, 10500 * time.Millisecond},
	} {
		p := New(share, moment(0))
		p.Spend(moment(0), tc.spent)
		if got := p.WaitSpare(moment(0), tc.cpu); got < tc.want || got > tc.want+2*time.Microsecond {
			t.Errorf("after %v, work of %v waits %v, want %v", tc.spent, tc.cpu, got, tc.want)
		}
		if at := moment(p.WaitSpare(moment(0), tc.cpu)); p.WaitSpare(at, tc.cpu) != 0 {
			t.Errorf("after %v, work of %v still waits %v at the announced time", tc.spent, tc.cpu, p.WaitSpare(at, tc.cpu))
		}
	}
}

func TestThreadCPUGrowsWithWork(t *testing.T) {
	before, began := threadCPU(), time.Now()
	var ru unix.Rusage
	for threadCPU()-before < time.Millisecond && time.Since(began) < 30*time.Second {
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &ru)
	}
	if threadCPU() <= before {
		t.Error("the CPU time has not grown")
	}
}
