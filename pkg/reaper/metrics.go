// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Metrics is what the reaper counts and measures, as of one moment. Counts are since it started. What is counted
// under a name that is known beforehand is there from the start, as 0, so that a rate sees the first one.
type Metrics struct {
	Finder         string
	Mode           policy.Mode // that of the node, without any record's own
	Attachments    int         // records that can be acted on
	Inert          int         // records that cannot
	Namespaces     int
	Unreachable    int    // how many of the namespaces cannot be entered
	AgesLost       uint64 // 1 if the ages of an earlier reaper could not be used, or not all
	RecordProblems int    // files in the state directory that are no record, and records made with mistakes
	Candidates     map[inetdiag.State]int
	Oldest         map[inetdiag.State]time.Duration
	Destroyed      map[CountKey]uint64
	WouldDestroy   map[CountKey]uint64
	PeerGone       map[GoneKey]uint64       // ended because their peer is gone
	PeersAsked     map[string]uint64        // by result, or the obstacle
	WouldAsk       uint64                   // questions that the mode forbade
	LooksTooOld    uint64                   // see api.Counts
	Gone           uint64                   // ended by themselves between decision and destroy
	Spared         map[policy.Reason]uint64 // how often a socket came to be spared for a reason
	SparedNow      map[policy.Reason]int    // the candidates of this moment, by the reason why they are not destroyed
	DestroyErrors  map[string]uint64        // by errno
	Events         map[string]uint64        // what has happened to candidates, by the event's name
	Lateness       Histogram                // of destroys, what is excused left out
	BudgetWaiting  int
	SweepDuration  Histogram // of one namespace
	SweepCPU       time.Duration
	SweepLate      time.Duration // how far sweeping lags behind what the graces ask for
	EventsMissed   uint64        // sockets that a sweep found and the finder's events should have
	Warnings       map[string]uint64

	canAsk bool // peers are asked
}

// CountKey is what destroys are counted by.
type CountKey struct {
	State     inetdiag.State
	Namespace string // the pod's; "" outside of Kubernetes
}

// Metrics returns what the reaper has counted until now.
func (r *Reaper) Metrics(ctx context.Context) (Metrics, error) {
	var m Metrics
	err := r.each(ctx, func(l *loop) { m = l.metrics() }, func(l *loop, ns *registered) { m.add(ns, l.clock.Now()) })
	return m, err
}

// tally is what the loop counts for Metrics alone.
type tally struct {
	destroyed, wouldDestroy map[CountKey]uint64
	peerGone                map[GoneKey]uint64
	lateness, sweeps        Histogram
}

// newTally makes a tally. Its buckets tell what is in time from what is late: 50 ms where a finder sees sockets
// become half-closed, an interval between sweeps, a second to a minute, where it does not. A sweep takes as
// long as the table of connections is large.
func newTally() tally {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return tally{
		destroyed: make(map[CountKey]uint64), wouldDestroy: make(map[CountKey]uint64), peerGone: make(map[GoneKey]uint64),
		lateness: newHistogram(1*ms, 5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 500*ms, 1*s, 2500*ms, 5*s, 15*s, 30*s, 60*s, 300*s),
		sweeps:   newHistogram(100*us, 250*us, 500*us, 1*ms, 2500*us, 5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 1*s, 5*s),
	}
}

// halfClosed are the states of candidates.
func halfClosed() [2]inetdiag.State {
	return [...]inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2}
}

// metrics is all but what is known of candidates.
func (l *loop) metrics() Metrics {
	pods, cost := l.podNamespaces(), l.finderCosts.total()
	m := Metrics{
		canAsk: l.tracker.canAsk,
		Finder: l.finder.Name, Mode: l.caps.view.Effective,
		Attachments: len(l.registry.census.records), Inert: len(l.registry.census.inert),
		Namespaces: len(l.registry.namespaces), RecordProblems: l.registry.census.mistakes(),
		Candidates: map[inetdiag.State]int{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0},
		Oldest:     map[inetdiag.State]time.Duration{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0},
		Destroyed:  withZeros(l.tally.destroyed, pods), WouldDestroy: withZeros(l.tally.wouldDestroy, pods),
		PeerGone: withZeros(l.tally.peerGone, goneKeys(pods)), PeersAsked: l.questionCounts(), WouldAsk: l.tracker.wouldAsk,
		SparedNow: make(map[policy.Reason]int), Unreachable: l.unreachable(), AgesLost: l.ages.lost,
		LooksTooOld: l.counts.LooksTooOld, Gone: l.counts.Gone, Spared: withZeros(l.tracker.spared, sparing()),
		DestroyErrors: withZeros(l.counts.Errors, []string{errnoName(unix.EPERM), errnoName(unix.EOPNOTSUPP)}),
		Events:        l.tracker.eventCounts(), Lateness: l.tally.lateness.clone(), BudgetWaiting: l.tracker.held.Len(),
		SweepDuration: l.tally.sweeps.clone(), SweepCPU: cost.CPU, SweepLate: l.sweeping.late,
		EventsMissed: cost.Missed, Warnings: withZeros(l.warnings.all(), WarningKinds()),
	}
	for _, r := range append(sparing(), policy.Destroyable) {
		m.SparedNow[r] = 0
	}
	l.tally.forget(pods)
	return m
}

// add counts a namespace's candidates.
func (m *Metrics) add(ns *registered, at monotime.Time) {
	var (
		count  [2]int
		oldest [2]time.Duration
		spared [256]int // by reason: a map costs more for each candidate
	)
	for _, c := range ns.candidates {
		spared[c.sparedNow(m.canAsk, at)]++
		if !c.history.Owned {
			continue
		}
		i := 0
		if c.history.State == inetdiag.FinWait2 {
			i = 1
		}
		count[i]++
		oldest[i] = max(oldest[i], at.Sub(c.history.Since))
	}
	for r := range m.SparedNow {
		m.SparedNow[r] += spared[r]
	}
	for i, state := range halfClosed() {
		m.Candidates[state] += count[i]
		m.Oldest[state] = max(m.Oldest[state], oldest[i])
	}
}

// withZeros returns what has been counted, and 0 for what may be and has not been.
func withZeros[K comparable](counts map[K]uint64, names []K) map[K]uint64 {
	all := make(map[K]uint64, len(counts)+len(names))
	for _, name := range names {
		all[name] = 0
	}
	maps.Copy(all, counts)
	return all
}

// podNamespaces are what destroys may be counted by now: the namespaces of the pods that are registered.
func (l *loop) podNamespaces() []CountKey {
	var keys []CountKey
	seen := make(map[string]bool)
	for _, ns := range l.registry.namespaces {
		if name := ns.records[0].Pod.Namespace; !seen[name] {
			seen[name] = true
			for _, state := range halfClosed() {
				keys = append(keys, CountKey{state, name})
			}
		}
	}
	return keys
}

// manyCounts is how many counts there may be of namespaces that have no pod here any more.
const manyCounts = 1000

// forget drops the counts of namespaces that have no pod here any more once there are many: where each run of
// a pipeline has a namespace of its own they would become ever more.
func (t *tally) forget(here []CountKey) {
	for _, counts := range []map[CountKey]uint64{t.destroyed, t.wouldDestroy} {
		if len(counts) > len(here)+manyCounts {
			maps.DeleteFunc(counts, func(k CountKey, _ uint64) bool { return !slices.Contains(here, k) })
		}
	}
	if len(t.peerGone) > 2*(len(here)+manyCounts) {
		maps.DeleteFunc(t.peerGone, func(k GoneKey, _ uint64) bool { return !slices.Contains(here, k.CountKey) })
	}
}

// sparing are the reasons for which a candidate is spared.
func sparing() []policy.Reason {
	return slices.DeleteFunc(policy.Reasons(), func(r policy.Reason) bool {
		// Network namespaces that are not registered have no candidates.
		return r == policy.Destroyable || r == policy.NotRegistered
	})
}

// errnoName is an errno's name as the kernel's sources have it.
func errnoName(errno unix.Errno) string {
	if errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP" // on Linux ENOTSUP is the same
	}
	return unix.ErrnoName(errno)
}

// mistakes counts the files that are no record, and the records that were made with mistakes.
func (c *census) mistakes() int {
	n := len(c.problems)
	for _, r := range c.records {
		if len(r.Warnings) > 0 {
			n++
		}
	}
	return n
}
