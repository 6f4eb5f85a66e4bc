// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"maps"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Metrics is what the reaper counts and measures, as of one moment. Counts are since it started.
type Metrics struct {
	Finder         string
	Mode           policy.Mode // that of the node, without any record's own
	Attachments    int         // records that can be acted on
	Inert          int         // records that cannot
	Namespaces     int
	RecordProblems int // files in the state directory that are no record
	Candidates     map[inetdiag.State]int
	Oldest         map[inetdiag.State]time.Duration
	Destroyed      map[CountKey]uint64
	WouldDestroy   map[CountKey]uint64
	Gone           uint64                   // ended by themselves between decision and destroy
	Spared         map[policy.Reason]uint64 // how often a socket came to be spared for a reason
	DestroyErrors  map[string]uint64        // by errno
	Lateness       Histogram                // destroy minus deadline, the wait for the budget left out
	BudgetWaiting  int
	SweepDuration  Histogram // of one namespace
	SweepCPU       time.Duration
	SweepLate      time.Duration // how far sweeping lags behind what the graces ask for
	EventsMissed   uint64        // sockets that a sweep found and the finder's events should have
	Warnings       map[string]uint64
}

// CountKey is what destroys are counted by.
type CountKey struct {
	State     inetdiag.State
	Namespace string // the pod's; "" outside of Kubernetes
}

// Metrics returns what the reaper has counted until now.
func (r *Reaper) Metrics(ctx context.Context) (Metrics, error) {
	var m Metrics
	err := r.read(ctx, func(l *loop) { m = l.metrics() })
	return m, err
}

// tally is what the loop counts for Metrics alone.
type tally struct {
	destroyed, wouldDestroy map[CountKey]uint64
	lateness, sweeps        Histogram
	missed                  uint64
}

func newTally() tally {
	return tally{
		destroyed: make(map[CountKey]uint64), wouldDestroy: make(map[CountKey]uint64),
		lateness: newHistogram(time.Millisecond, 5*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond,
			500*time.Millisecond, time.Second, 5*time.Second, 15*time.Second, time.Minute, 5*time.Minute),
		sweeps: newHistogram(100*time.Microsecond, 500*time.Microsecond, time.Millisecond, 5*time.Millisecond, 10*time.Millisecond,
			50*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond, time.Second, 5*time.Second),
	}
}

func (l *loop) metrics() Metrics {
	m := Metrics{
		Finder: l.cfg.Finder.Name(), Mode: l.caps.view.Effective,
		Attachments: len(l.registry.census.records), Inert: len(l.registry.census.inert),
		Namespaces: len(l.registry.namespaces), RecordProblems: len(l.registry.census.problems),
		Candidates: map[inetdiag.State]int{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0},
		Oldest:     map[inetdiag.State]time.Duration{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0},
		Destroyed:  maps.Clone(l.tally.destroyed), WouldDestroy: maps.Clone(l.tally.wouldDestroy),
		Gone: l.counts.Gone, Spared: maps.Clone(l.tracker.spared), DestroyErrors: maps.Clone(l.counts.Errors),
		Lateness: l.tally.lateness.clone(), BudgetWaiting: l.held.count,
		SweepDuration: l.tally.sweeps.clone(), SweepCPU: l.sweeping.cpu, SweepLate: l.sweeping.late,
		EventsMissed: l.tally.missed, Warnings: l.warnings.all(),
	}
	at := now()
	for _, ns := range l.registry.namespaces {
		for _, c := range ns.candidates {
			if c.history.Owned {
				m.Candidates[c.history.State]++
				m.Oldest[c.history.State] = max(m.Oldest[c.history.State], at.Sub(c.history.Since))
			}
		}
	}
	return m
}
