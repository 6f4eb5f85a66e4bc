// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// Figures is all that is exposed.
type Figures struct {
	Build   buildinfo.Info
	Process Process
	Reaper  reaper.Metrics
}

// Of returns the figures of a reaper of this process that started at a time, in the Prometheus text format.
func Of(ctx context.Context, r *reaper.Reaper, started time.Time) ([]byte, error) {
	m, err := r.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	p, err := ReadProcess(started)
	if err != nil {
		return nil, err
	}
	f := Figures{Build: buildinfo.Get(), Process: p, Reaper: m}
	return f.Append(nil), nil
}

// Append appends the figures to b, always in the same order.
func (f *Figures) Append(b []byte) []byte {
	t := text{b: b}
	f.node(&t)
	f.sockets(&t)
	f.sweeps(&t)
	f.process(&t)
	return t.b
}

// node writes what is at work here, and on what.
func (f *Figures) node(t *text) {
	m := &f.Reaper
	t.family("halfclose_build_info", gauge, "Which halfclose this is.")
	t.whole(1, label{"version", f.Build.Version}, label{"commit", f.Build.Commit}, label{"goversion", f.Build.Go})
	t.family("halfclose_finder_info", gauge, "What lists half-closed sockets.")
	t.whole(1, label{"finder", m.Finder})
	t.family("halfclose_mode_info", gauge, "The most that is done on this node, whatever an attachment's own mode.")
	t.whole(1, label{"mode", m.Mode.String()})
	t.family("halfclose_attachments", gauge, "Attachments that are watched over.")
	t.whole(uint64(m.Attachments))
	t.family("halfclose_inert_attachments", gauge, "Attachments that nothing is done about, such as those whose namespace is gone or cannot be seen.")
	t.whole(uint64(m.Inert))
	t.family("halfclose_namespaces", gauge, "Network namespaces of the attachments.")
	t.whole(uint64(m.Namespaces))
	t.family("halfclose_unreachable_netns", gauge, "Network namespaces of the attachments that cannot be entered: their sockets can be neither looked at nor destroyed.")
	t.whole(uint64(m.Unreachable))
	t.family("halfclose_record_problems", gauge, "Files in the state directory that are no record, and attachments made with mistakes in their configuration.")
	t.whole(uint64(m.RecordProblems))
	t.family("halfclose_ages_lost_total", counter, "Starts of this reaper that could not use the ages of the one before it, or not all: idle times began again.")
	t.whole(m.AgesLost)
	t.family("halfclose_warnings_total", counter, "Warnings in the reaper's log, by what they are about.")
	for kind, n := range sorted(m.Warnings, cmp.Compare[string]) {
		t.whole(n, label{"kind", kind})
	}
}

// sockets writes what was found and what became of it.
func (f *Figures) sockets(t *text) {
	m := &f.Reaper
	t.family("halfclose_candidates", gauge, "Half-closed sockets that a process owns.")
	for state, n := range sorted(m.Candidates, byName) {
		t.whole(uint64(n), label{"state", state.String()})
	}
	t.family("halfclose_oldest_candidate_seconds", gauge, "How long the oldest half-closed socket has been so.")
	for state, age := range sorted(m.Oldest, byName) {
		t.seconds(age, label{"state", state.String()})
	}
	t.family("halfclose_destroyed_total", counter, "Sockets destroyed, by the pod's namespace.")
	t.counts(m.Destroyed)
	t.family("halfclose_would_destroy_total", counter, "Sockets that would have been destroyed but for the mode, by the pod's namespace.")
	t.counts(m.WouldDestroy)
	t.family("halfclose_peer_gone_total", counter, "Sockets that ended because their peer was asked and is gone, by how it showed that: by a reset, or by no answer.")
	t.gone(m.PeerGone)
	t.family("halfclose_peers_asked_total", counter, "Questions to peers by how they ended, or by why the peer was not asked.")
	for result, n := range sorted(m.PeersAsked, cmp.Compare[string]) {
		t.whole(n, label{"result", result})
	}
	t.family("halfclose_would_ask_total", counter, "Questions to peers that the mode forbade.")
	t.whole(m.WouldAsk)
	t.family("halfclose_looks_too_old_total", counter, "Sockets that were looked at once more because too much time had passed between look and destroy.")
	t.whole(m.LooksTooOld)
	t.family("halfclose_gone_total", counter, "Sockets that ended by themselves between the decision to destroy them and the destroy.")
	t.whole(m.Gone)
	t.family("halfclose_spared_sockets", gauge, "Half-closed sockets of this moment by the reason why they are not destroyed; destroy and would-destroy: they are due.")
	for reason, n := range sorted(m.SparedNow, byReason) {
		t.whole(uint64(n), label{"reason", reason.String()})
	}
	t.family("halfclose_spared_total", counter, "How often a half-closed socket came to be spared, by the reason.")
	for reason, n := range sorted(m.Spared, byReason) {
		t.whole(n, label{"reason", reason.String()})
	}
	t.family("halfclose_destroy_errors_total", counter, "Looks and destroys that the kernel refused, by the errno.")
	for errno, n := range sorted(m.DestroyErrors, cmp.Compare[string]) {
		t.whole(n, label{"errno", errno})
	}
	t.family("halfclose_destroy_lateness_seconds", histogram, "How long after the end of their patience sockets were destroyed, without what is excused: the history has both.")
	t.histogram(m.Lateness)
	t.family("halfclose_budget_waiting", gauge, "Sockets past their grace that wait for --max-destroys-per-second.")
	t.whole(uint64(m.BudgetWaiting))
}

// counts writes what is counted by state and namespace.
func (t *text) counts(counts map[reaper.CountKey]uint64) {
	order := func(a, b reaper.CountKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), byName(a.State, b.State))
	}
	for key, n := range sorted(counts, order) {
		t.whole(n, label{"state", key.State.String()}, label{"namespace", key.Namespace})
	}
}

// gone writes what is counted by state, namespace and how a peer is gone.
func (t *text) gone(counts map[reaper.GoneKey]uint64) {
	order := func(a, b reaper.GoneKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), byName(a.State, b.State), cmp.Compare(a.How, b.How))
	}
	for key, n := range sorted(counts, order) {
		t.whole(n, label{"state", key.State.String()}, label{"namespace", key.Namespace}, label{"how", key.How})
	}
}

// sweeps writes how the finder keeps up.
func (f *Figures) sweeps(t *text) {
	m := &f.Reaper
	t.family("halfclose_sweep_duration_seconds", histogram, "How long a sweep of one namespace took, or a walk over all processes.")
	t.histogram(m.SweepDuration, label{"finder", m.Finder})
	t.family("halfclose_sweep_cpu_seconds_total", counter, "CPU time that sweeping took.")
	t.seconds(m.SweepCPU)
	t.family("halfclose_sweep_late_seconds", gauge, "How far sweeping lags behind what the graces ask for, 0 while it keeps up.")
	t.seconds(m.SweepLate)
	t.family("halfclose_events_missed_total", counter, "Half-closed sockets that a walk found and the kernel should have told of.")
	t.whole(m.EventsMissed)
}

// process writes what the reaper costs, under the names that all Prometheus clients use.
func (f *Figures) process(t *text) {
	p := &f.Process
	t.family("process_cpu_seconds_total", counter, "Total user and system CPU time spent in seconds.")
	t.seconds(p.CPU)
	t.family("process_resident_memory_bytes", gauge, "Resident memory size in bytes.")
	t.whole(p.Resident)
	t.family("process_start_time_seconds", gauge, "Start time of the process since unix epoch in seconds.")
	t.series("", nil)
	t.float(float64(p.Started.UnixMilli()) / 1000)
	t.family("process_open_fds", gauge, "Number of open file descriptors.")
	t.whole(uint64(p.OpenFDs))
}

func byReason(a, b policy.Reason) int { return cmp.Compare(a.String(), b.String()) }

func byName(a, b inetdiag.State) int { return cmp.Compare(a.String(), b.String()) }

// sorted goes through a map in order.
func sorted[K comparable, V any](m map[K]V, order func(a, b K) int) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(m), order) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
