// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// wholeCore is a CPU budget that no test exhausts.
const wholeCore = 1

// testNetns creates a network namespace with one half-closed connection, with an interval of one minute.
func testNetns(t *testing.T) Netns {
	t.Helper()
	ns := nstest.New(t)
	if err := ns.Connect(t, nstest.IPv4).Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	id, err := netns.Identify(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return Netns{Identity: id, Paths: []string{ns.Path()}, Interval: time.Minute, Patience: time.Hour}
}

func testRoot(t *testing.T) *netns.Root {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// newTestSweeper returns a sweeper of one network namespace, with a share of one core.
func newTestSweeper(t *testing.T, n Netns, share float64, due monotime.Time) *sweeper {
	t.Helper()
	clock := nstest.Clock(t)
	s := newSweeper(Opener{testRoot(t)}, pacing.New(share, clock.Now()), clock, dueNow)
	s.replace([]Netns{n}, due)
	return &s
}

// slowSink spends time in Seen.
type slowSink struct {
	clock monotime.Clock
	calls int
	first monotime.Time // time of the first call of Seen
}

func (s *slowSink) Seen([]Seen) {
	at := s.clock.Now()
	if s.calls++; s.calls == 1 {
		s.first = at
	}
	for s.clock.Now() == at { // until the clock's next tick
	}
}

func (*slowSink) Swept(Sweep)                  {}
func (*slowSink) Failed(netns.Identity, error) {}
func (*slowSink) Cost(Cost)                    {}
func (*slowSink) State(State)                  {}

func TestTheDurationOfASweepDoesNotIncludeItsSink(t *testing.T) {
	sink := &slowSink{clock: nstest.Clock(t)}
	now := sink.clock.Now()
	s := newTestSweeper(t, testNetns(t), wholeCore, now)
	sweep, complete := s.sweep(now, sink)
	if !complete || sink.calls != 1 {
		t.Fatalf("complete: %v; %d calls of the sink", complete, sink.calls)
	}
	if sweep.Duration <= 0 || sink.first.Before(sweep.Began.Add(sweep.Duration)) {
		t.Errorf("it took %v, and the sink was called %v after its start", sweep.Duration, sink.first.Sub(sweep.Began))
	}
}

func TestASweepIsLateByTheTimeSinceItWasDue(t *testing.T) {
	n, sink := testNetns(t), &slowSink{clock: nstest.Clock(t)}
	for _, delay := range []time.Duration{0, 3 * time.Second} {
		now := sink.clock.Now()
		s := newTestSweeper(t, n, wholeCore, now.Add(-delay))
		if sweep, complete := s.sweep(now, sink); !complete || sweep.Late != delay {
			t.Errorf("a sweep that starts %v after it is due is late by %v; complete: %v", delay, sweep.Late, complete)
		}
	}
}

func TestASweepSpendsTheBudget(t *testing.T) {
	n, sink := testNetns(t), &slowSink{clock: nstest.Clock(t)}
	n.Interval = 0 // the next sweep is due at once
	for name, tc := range map[string]struct {
		share float64
		due   bool
	}{
		"a budget that the sweep exhausts": {1e-9, false},
		"a budget of cores":                {1000, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSweeper(t, n, tc.share, sink.clock.Now())
			if _, complete := s.sweep(sink.clock.Now(), sink); !complete {
				t.Fatal("the first sweep is not complete")
			}
			now := sink.clock.Now()
			if _, due := s.due(now); due != tc.due {
				t.Errorf("the next sweep is due: %v", due)
			}
			if idle := s.idle(now); (idle == 0) != tc.due {
				t.Errorf("the sweeper is idle for %v", idle)
			}
		})
	}
}
