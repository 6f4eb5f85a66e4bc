// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// snapshot collects the reaper's metrics of one moment.
type snapshot struct {
	build  buildinfo.Info
	reaper *reaper.Metrics
}

// Describe sends nothing: a snapshot lives for one scrape, whose consistency Gather checks.
func (s *snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *snapshot) Collect(ch chan<- prometheus.Metric) {
	s.node(ch)
	s.control(ch)
	s.sockets(ch)
	s.destroys(ch)
	s.peers(ch)
	s.sweeps(ch)
	s.descriptors(ch)
	s.writes(ch)
}

func (s *snapshot) node(ch chan<- prometheus.Metric) {
	m := s.reaper
	gauge(ch, "halfclose_build_info", "Version of the reaper. The value is always 1.", "version", "commit", "goversion").
		add(1, s.build.Version, s.build.Commit, s.build.Go)
	gauge(ch, "halfclose_finder_info", "Finder in use. The value is always 1.", "finder").add(1, m.Finder)
	mode := gauge(ch, "halfclose_mode", "Mode of the node: 1 for the mode in force, 0 for the others. The mode of a single attachment may be more conservative.", "mode")
	for _, known := range []policy.Mode{policy.Destroy, policy.Observe, policy.Off} {
		value := 0.0
		if known == m.Mode {
			value = 1
		}
		mode.add(value, known.String())
	}
	gauge(ch, "halfclose_attachments", "Active attachments.").add(float64(m.Attachments))
	gauge(ch, "halfclose_inert_attachments", "Attachments that the reaper cannot act on although their network namespace may exist.").add(float64(m.Inert))
	gauge(ch, "halfclose_netns", "Network namespaces of the active attachments.").add(float64(m.Netns))
	gauge(ch, "halfclose_unreachable_netns", "Network namespaces of the active attachments that the reaper cannot enter: their sockets are neither found nor destroyed.").add(float64(m.Unreachable))
	gauge(ch, "halfclose_record_problems", "Unreadable files in the state directory, and attachments with configuration mistakes.").add(float64(m.RecordProblems))
	counter(ch, "halfclose_ages_lost_total", "Starts of the reaper that could not use some or all of the saved socket ages.").add(float64(m.AgesLost))
	warnings := counter(ch, "halfclose_warnings_total", "Warnings in the reaper's log, by subject.", "kind")
	for kind, n := range m.Warnings {
		warnings.add(float64(n), kind)
	}
}

// control sends the settings of operators, and the number of network namespaces without an attachment.
func (s *snapshot) control(ch chan<- prometheus.Metric) {
	m := s.reaper
	gauge(ch, "halfclose_policy_file_errors", "Mistakes in the node's policy file. With any, the last good content is in force.").add(float64(m.PolicyFileErrors))
	counts, ages := make(map[string]int), make(map[string]time.Duration)
	for _, scope := range switchScopes() {
		counts[scope], ages[scope] = 0, 0
	}
	for _, sw := range m.Switches {
		scope := switchScope(sw.Scope)
		counts[scope]++
		if !sw.When.IsZero() { // else it was written by hand
			ages[scope] = max(ages[scope], m.Wall.Sub(sw.When))
		}
	}
	switches := gauge(ch, "halfclose_switches", "Mode switches in force, by what they cover.", "scope")
	oldest := gauge(ch, "halfclose_oldest_switch_age_seconds", "Age of the oldest mode switch in force, by what it covers, 0 without one.", "scope")
	for _, scope := range switchScopes() {
		switches.add(float64(counts[scope]), scope)
		oldest.add(ages[scope].Seconds(), scope)
	}
	gauge(ch, "halfclose_unregistered_netns", "Named network namespaces of this node that no attachment registers, without the host's own.").add(float64(m.Adoption.Unregistered))
	gauge(ch, "halfclose_adopted_attachments", "Attachments that were registered after their containers had started.").add(float64(m.Adoption.Adopted))
	skipped := gauge(ch, "halfclose_adoption_skipped", "Entries of the CNI result cache that are not adopted, by reason.", "reason")
	for _, reason := range api.AdoptionReasons() {
		skipped.add(float64(m.Adoption.Skipped[reason]), string(reason))
	}
	counter(ch, "halfclose_history_lines_lost_total", "Lines of the history that could not be written.").add(float64(m.HistoryLost))
}

// switchScopes returns the scopes of switches.
func switchScopes() []string { return []string{"node", "namespace", "pod", "container"} }

func switchScope(s state.Scope) string {
	switch {
	case s.IsNode():
		return "node"
	case s.ID != "":
		return "container"
	case s.Pod != "":
		return "pod"
	}
	return "namespace"
}

func (s *snapshot) sockets(ch chan<- prometheus.Metric) {
	m := s.reaper
	sockets := gauge(ch, "halfclose_sockets", "Half-closed sockets that a process owns, by the pod's Kubernetes namespace and TCP state.", "namespace", "state")
	for key, n := range m.Sockets {
		sockets.add(float64(n), key.Namespace, key.State.String())
	}
	oldest := gauge(ch, "halfclose_oldest_socket_age_seconds", "Age of the oldest half-closed socket that a process owns, by TCP state.", "state")
	for state, age := range m.Oldest {
		oldest.add(age.Seconds(), state.String())
	}
	spared := gauge(ch, "halfclose_spared_sockets", "Half-closed sockets, by the reason for which they are not destroyed now. Those with the reason destroy or would-destroy are due.", "reason")
	for reason, n := range m.Spared {
		spared.add(float64(n), reason.String())
	}
	sparedTotal := counter(ch, "halfclose_spared_total", "Times that a socket was first spared for a reason.", "reason")
	for reason, n := range m.SparedTotal {
		sparedTotal.add(float64(n), reason.String())
	}
}

func (s *snapshot) destroys(ch chan<- prometheus.Metric) {
	m := s.reaper
	destroyed := counter(ch, "halfclose_destroyed_total", "Destroyed sockets, by the pod's Kubernetes namespace and TCP state.", "namespace", "state")
	for key, n := range m.Destroyed {
		destroyed.add(float64(n), key.Namespace, key.State.String())
	}
	wouldDestroy := counter(ch, "halfclose_would_destroy_total", "Sockets that only the mode kept from being destroyed, by the pod's Kubernetes namespace and TCP state.", "namespace", "state")
	for key, n := range m.WouldDestroy {
		wouldDestroy.add(float64(n), key.Namespace, key.State.String())
	}
	refused := counter(ch, "halfclose_destroy_errors_total", "Socket look-ups and destroys that the kernel refused, by errno.", "errno")
	for errno, n := range m.DestroyErrors {
		refused.add(float64(n), errno)
	}
	gauge(ch, "halfclose_destroys_queued", "Sockets that are due and wait for --max-destroys-per-second.").add(float64(m.Queued))
	counter(ch, "halfclose_stale_lookups_total", "Socket look-ups that were repeated because too much time had passed to destroy the socket by them.").add(float64(m.StaleLookups))
}

func (s *snapshot) peers(ch chan<- prometheus.Metric) {
	m := s.reaper
	gone := counter(ch, "halfclose_peer_gone_total", "Sockets that the kernel closed because the peer, when asked, sent a reset or did not answer.", "namespace", "state", "how")
	for key, n := range m.PeerGone {
		gone.add(float64(n), key.Namespace, key.State.String(), key.How)
	}
	asked := counter(ch, "halfclose_peers_asked_total", "Questions to peers, by the answer or by the reason for which the peer was not asked.", "result")
	for result, n := range m.PeersAsked {
		asked.add(float64(n), result)
	}
	counter(ch, "halfclose_would_ask_total", "Questions to peers that only the mode prevented.").add(float64(m.WouldAsk))
}

func (s *snapshot) sweeps(ch chan<- prometheus.Metric) {
	m := s.reaper
	counter(ch, "halfclose_sweep_cpu_seconds_total", "CPU time spent on finding sockets.").add(m.SweepCPU.Seconds())
	gauge(ch, "halfclose_sweep_lag_seconds", "Delay of the latest sweep, or of one that is due, beyond the interval that the policies require, 0 while sweeps are on time.").add(m.SweepLag.Seconds())
	gauge(ch, "halfclose_crowded_netns", "Network namespaces with very many half-closed sockets, each of which is swept on its own.").add(float64(m.Crowded))
	counter(ch, "halfclose_events_missed_total", "Half-closed sockets that a sweep found although the kernel should have reported them before.").add(float64(m.EventsMissed))
}

func (s *snapshot) descriptors(ch chan<- prometheus.Metric) {
	m := s.reaper
	gauge(ch, "halfclose_descriptors_held", "Ended sockets, destroyed or with a peer that is gone, of which a process still has a descriptor.").add(float64(m.DescriptorsHeld))
	counter(ch, "halfclose_descriptors_closed_total", "Ended sockets, destroyed or with a peer that is gone, whose owners have closed their descriptors, or exited.").add(float64(m.DescriptorsClosed))
	gauge(ch, "halfclose_processes_near_file_limit", "Processes with half-closed or ended sockets that use more than 80 % of their limit on open files.").
		add(float64(m.NearFileLimit))
}

func (s *snapshot) writes(ch chan<- prometheus.Metric) {
	m := s.reaper
	unwritable := gauge(ch, "halfclose_unwritable", "1 if the file or directory could not be written when that was last tried, else 0.", "file")
	for name, is := range m.Unwritable {
		value := 0.0
		if is {
			value = 1
		}
		unwritable.add(value, name)
	}
	failed := counter(ch, "halfclose_write_errors_total", "Failed writes of files of the reaper, and failed attempts to write in its directories.", "file")
	for name, n := range m.WriteErrors {
		failed.add(float64(n), name)
	}
}

// family sends the metrics of one name.
type family struct {
	ch   chan<- prometheus.Metric
	kind prometheus.ValueType
	desc *prometheus.Desc
}

func gauge(ch chan<- prometheus.Metric, name, help string, labels ...string) family {
	return family{ch, prometheus.GaugeValue, prometheus.NewDesc(name, help, labels, nil)}
}

func counter(ch chan<- prometheus.Metric, name, help string, labels ...string) family {
	return family{ch, prometheus.CounterValue, prometheus.NewDesc(name, help, labels, nil)}
}

// add sends one metric. The strings are the values of its labels. It replaces invalid UTF-8, which would fail the
// scrape.
func (f family) add(value float64, values ...string) {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	f.ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, values...)
}
