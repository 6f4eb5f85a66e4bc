// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/netns"
)

// lateness is a sink that keeps the lateness of each sweep.
type lateness struct {
	slowSink
	late []time.Duration
}

func (l *lateness) Swept(sweep Sweep) { l.late = append(l.late, sweep.Late) }

// newTestBPF returns a bpf finder of one network namespace, which its walks cover or not.
func newTestBPF(t *testing.T, n Netns, covered bool) (*BPF, *lateness) {
	t.Helper()
	loader, err := LoadPrograms(1 << 12)
	if _, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
		nstest.NeedBPF(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loader.Close(); err != nil {
			t.Error(err)
		}
	})
	f, sink := NewBPF(BPFConfig{
		Config: Config{Root: testRoot(t), Clock: nstest.Clock(t), CPUBudget: wholeCore}, Loader: loader, AuditBudget: wholeCore,
	}), &lateness{slowSink: slowSink{clock: nstest.Clock(t)}}
	f.sink = sink
	f.visibility.all, f.visibility.visible = covered, make(map[netns.Identity]bool)
	f.replaceTargets([]Netns{n}, f.clock.Now())
	return f, sink
}

func TestAWalkIsLateByTheTimeSinceItWasDue(t *testing.T) {
	n := testNetns(t)
	for _, delay := range []time.Duration{-time.Second, 0, 3 * time.Second} {
		f, sink := newTestBPF(t, n, true)
		now := f.clock.Now()
		f.nextWalk = now.Add(-delay)
		f.walk(t.Context(), now)
		if want := []time.Duration{max(delay, 0)}; !slices.Equal(sink.late, want) {
			t.Errorf("walks that start %v after they are due are late by %v, want %v", delay, sink.late, want)
		}
	}
}

// A covered network namespace has its walks, so a delayed sweep of it is not late.
func TestASweepIsLateOnlyIfNoWalkCoversTheNetns(t *testing.T) {
	n, delay := testNetns(t), 3*time.Second
	for name, tc := range map[string]struct {
		covered bool
		want    time.Duration
	}{
		"covered":     {true, 0},
		"not covered": {false, delay},
	} {
		t.Run(name, func(t *testing.T) {
			f, sink := newTestBPF(t, n, tc.covered)
			now := f.clock.Now()
			f.sweeps.queue.peek().due = now.Add(-delay)
			f.sweepNext(now)
			if want := []time.Duration{tc.want}; !slices.Equal(sink.late, want) {
				t.Errorf("the sweeps are late by %v, want %v", sink.late, want)
			}
		})
	}
}

func TestAnAuditIsNeverLate(t *testing.T) {
	f, sink := newTestBPF(t, testNetns(t), true)
	f.walk(t.Context(), f.clock.Now())
	f.sweepNext(f.clock.Now())
	sink.late = nil
	now := f.clock.Now()
	audit := f.audits.queue.peek()
	if audit == nil {
		t.Fatal("no audit is due after the first sweep")
	}
	audit.due = now.Add(-3 * time.Second)
	f.auditNext(t.Context(), now)
	if len(sink.late) == 0 || slices.Max(sink.late) != 0 || f.fallback != nil {
		t.Errorf("the audit's sweeps are late by %v; the fallback is %+v", sink.late, f.fallback)
	}
}
