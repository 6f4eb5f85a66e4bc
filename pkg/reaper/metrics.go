// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"maps"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Metrics are the reaper's counters and gauges at one moment; Histograms has the rest. Counters start at 0 with the
// reaper. Keys that are known beforehand are present from the start, with 0, so that a rate includes the first event.
type Metrics struct {
	Finder         string      // in use
	Mode           policy.Mode // of the node; a record's own mode may be more conservative
	Attachments    int         // active records
	Inert          int         // records that the reaper cannot act on
	Netns          int         // network namespaces of the active records
	Unreachable    int         // those of Netns that cannot be entered
	AgesLost       uint64      // 1 if some or all ages of the previous reaper could not be used
	RecordProblems int         // unreadable files in the state directory, and records with configuration mistakes

	Sockets map[CountKey]int                 // half-closed and owned by a process
	Oldest  map[inetdiag.State]time.Duration // age of the oldest of Sockets
	Spared  map[policy.Reason]int            // candidates by the reason for which they are not destroyed now
	Queued  int                              // sockets that wait for --max-destroys-per-second

	Destroyed     map[CountKey]uint64
	WouldDestroy  map[CountKey]uint64
	PeerGone      map[GoneKey]uint64       // closed by the kernel because the peer is gone
	PeersAsked    map[string]uint64        // by result, or by the obstacle
	WouldAsk      uint64                   // questions that the mode forbade
	SparedTotal   map[policy.Reason]uint64 // how often a candidate was first spared for a reason
	DestroyErrors map[string]uint64        // refused look-ups and destroys, by errno
	StaleLookups  uint64                   // repeated look-ups: the one before was too old to destroy by

	SweepCPU     time.Duration
	Crowded      int           // network namespaces with very many sockets, each of which is swept on its own
	SweepLag     time.Duration // delay of sweeps beyond the interval that the policies require, 0 if they are on time
	EventsMissed uint64        // half-closed sockets that a sweep found before any event reported them
	Warnings     map[string]uint64

	Adoption         api.AdoptionView
	PolicyFileErrors int            // mistakes in the policy file as it is now
	Switches         []state.Switch // in force: those of the node, and of its parts
	HistoryLost      uint64         // lines of the history that could not be written

	DescriptorsHeld   int    // ended sockets of which a process still has a descriptor
	DescriptorsClosed uint64 // ended sockets whose owners have closed their descriptors, or exited
	NearFileLimit     int    // leaking processes that are near their limit on open files

	Unwritable  map[string]bool   // files that could not be written when that was last tried, by api.UnwritableNames
	WriteErrors map[string]uint64 // failed writes, by the same names

	Wall time.Time // of the values

	canAsk bool
}

// CountKey is the key of counters by state and Kubernetes namespace.
type CountKey struct {
	State     inetdiag.State
	Namespace string // of the pod; empty outside of Kubernetes
}

// Metrics returns the current values.
func (r *Reaper) Metrics(ctx context.Context) (Metrics, error) {
	var m Metrics
	err := r.each(ctx, func(l *loop) { m = l.metrics() }, func(l *loop, ns *registered) { m.add(ns, l.clock.Now()) })
	if h := r.historyView(); h != nil {
		m.HistoryLost = h.Lost
	}
	return m, err
}

// WarnConnections warns that all connections that a listener may have are open.
func (r *Reaper) WarnConnections(listener net.Addr, limit int) {
	r.warnings.warn(WarnConnections, "all connections are in use: other clients wait", "listener", listener.String(), "limit", limit)
}

// tally has the counters that only Metrics reads.
type tally struct {
	destroyed, wouldDestroy map[CountKey]uint64
	peerGone                map[GoneKey]uint64
}

func newTally() tally {
	return tally{
		destroyed: make(map[CountKey]uint64), wouldDestroy: make(map[CountKey]uint64), peerGone: make(map[GoneKey]uint64),
	}
}

// halfClosed returns the states of candidates.
func halfClosed() [2]inetdiag.State {
	return [...]inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2}
}

// metrics returns the values that do not depend on single candidates.
func (l *loop) metrics() Metrics {
	pods, cost := l.podNamespaces(), l.finderCosts.total()
	m := Metrics{
		canAsk: l.tracker.canAsk,
		Finder: l.finder.Name, Mode: l.caps.view.Effective,
		Attachments: l.registry.census.Active, Inert: l.registry.census.InertAttachments(),
		Netns: len(l.registry.namespaces), Unreachable: l.unreachable(), AgesLost: l.ages.lost,
		RecordProblems: l.registry.census.Mistakes,
		Sockets:        make(map[CountKey]int),
		Oldest:         map[inetdiag.State]time.Duration{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0},
		Spared:         make(map[policy.Reason]int), Queued: l.tracker.budgetQ.Len(),
		Destroyed: withZeros(l.tally.destroyed, pods), WouldDestroy: withZeros(l.tally.wouldDestroy, pods),
		PeerGone: withZeros(l.tally.peerGone, goneKeys(pods)), PeersAsked: l.questionCounts(), WouldAsk: l.tracker.wouldAsk,
		SparedTotal:   withZeros(l.tracker.spared, sparingReasons()),
		DestroyErrors: withZeros(l.counts.Errors, []string{errnoName(unix.EPERM), errnoName(unix.EOPNOTSUPP)}),
		StaleLookups:  l.counts.LooksTooOld,
		SweepCPU:      cost.CPU, SweepLag: l.sweeping.lag, Crowded: len(l.crowded()), EventsMissed: cost.Missed,
		Warnings: withZeros(l.warnings.all(), WarningKinds()),
	}
	m.addDescriptors(l.descriptors())
	m.addWrites(l.cfg.Writes)
	for _, key := range pods {
		m.Sockets[key] = 0
	}
	for _, r := range append(sparingReasons(), policy.Destroyable) {
		m.Spared[r] = 0
	}
	m.Adoption = l.adoption()
	m.PolicyFileErrors = len(l.registry.census.PolicyFile.Problems)
	m.Switches = slices.Clone(l.caps.inForce.Scoped)
	if node := l.caps.inForce.Node; node != nil {
		m.Switches = append(m.Switches, *node)
	}
	m.Wall = l.clock.Wall()
	l.tally.forget(pods)
	return m
}

// add adds the candidates of a network namespace.
func (m *Metrics) add(ns *registered, at monotime.Time) {
	counts := ns.countCandidates(m.canAsk, at)
	for r := range m.Spared {
		m.Spared[r] += counts.spared[r]
	}
	for _, state := range halfClosed() {
		m.Sockets[CountKey{state, ns.records[0].Pod.Namespace}] += counts.ages.Of(state).Total()
		m.Oldest[state] = max(m.Oldest[state], *counts.oldestOf(state))
	}
}

// candidateCounts counts the candidates of one network namespace.
type candidateCounts struct {
	ages                api.Ages      // of the owned ones
	closeWait, finWait2 time.Duration // age of the oldest owned one
	spared              [256]int      // by policy.Reason, of all; a map would cost more for each candidate
}

// oldestOf returns the age of the oldest candidate in a state.
func (c *candidateCounts) oldestOf(state inetdiag.State) *time.Duration {
	if state == inetdiag.FinWait2 {
		return &c.finWait2
	}
	return &c.closeWait
}

// countCandidates counts for Metrics and Status.
func (ns *registered) countCandidates(canAsk bool, at monotime.Time) candidateCounts {
	var counts candidateCounts
	bounds := api.AgeBounds()
	for _, c := range ns.candidates {
		counts.spared[c.sparedNow(canAsk, at)]++
		if !c.history.Owned {
			continue
		}
		age := at.Sub(c.history.Since)
		counts.ages.Of(c.history.State).Add(age, c.isOverdue(at), &bounds)
		oldest := counts.oldestOf(c.history.State)
		*oldest = max(*oldest, age)
	}
	return counts
}

// withZeros returns a copy of the counters, with 0 for names that have none.
func withZeros[K comparable](counts map[K]uint64, names []K) map[K]uint64 {
	all := make(map[K]uint64, len(counts)+len(names))
	for _, name := range names {
		all[name] = 0
	}
	maps.Copy(all, counts)
	return all
}

// podNamespaces returns the keys of the registered pods.
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

// maxFormerNamespaces bounds the counters of Kubernetes namespaces that no longer have a pod on this node.
const maxFormerNamespaces = 1000

// forget drops the counters of namespaces that no longer have a pod on this node, once there are too many: on a node
// where each pipeline run has a namespace of its own they would grow without limit.
func (t *tally) forget(here []CountKey) {
	for _, counts := range []map[CountKey]uint64{t.destroyed, t.wouldDestroy} {
		if len(counts) > len(here)+maxFormerNamespaces {
			maps.DeleteFunc(counts, func(k CountKey, _ uint64) bool { return !slices.Contains(here, k) })
		}
	}
	if len(t.peerGone) > 2*(len(here)+maxFormerNamespaces) {
		maps.DeleteFunc(t.peerGone, func(k GoneKey, _ uint64) bool { return !slices.Contains(here, k.CountKey) })
	}
}

// sparingReasons returns the reasons for which a candidate can be spared.
func sparingReasons() []policy.Reason {
	return slices.DeleteFunc(policy.Reasons(), func(r policy.Reason) bool {
		// Network namespaces that are not registered have no candidates.
		return r == policy.Destroyable || r == policy.NotRegistered
	})
}

// errnoName returns the name of an errno in the kernel's sources.
func errnoName(errno unix.Errno) string {
	if errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP" // on Linux ENOTSUP is the same
	}
	return unix.ErrnoName(errno)
}
