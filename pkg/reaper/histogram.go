// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// histograms has the durations that are observed as they happen.
type histograms struct {
	lateness   prometheus.Histogram     // of destroys, without the excused part
	sweeps     *prometheus.HistogramVec // by finder
	halfClosed *prometheus.HistogramVec // by state and end
}

// newHistograms returns empty histograms. The bounds of lateness separate destroys on time from late ones: 50 ms with a
// finder that sees each state change, and otherwise the interval of sweeps, 1 s to 1 min. The duration of a sweep grows
// with the kernel's hash table of connections.
func newHistograms() *histograms {
	h := &histograms{
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "halfclose_destroy_lateness_seconds",
			Help:    "Time from a socket's deadline to its destroy, without the time that halfclose excuses, such as the wait for --max-destroys-per-second.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 30, 60, 300},
		}),
		sweeps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "halfclose_sweep_duration_seconds",
			Help:    "Duration of one sweep, by finder. sockdiag: a dump of one network namespace. bpf: a walk over all processes of the node.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"finder"}),
		halfClosed: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "halfclose_half_closed_seconds",
			Help:    "Time that sockets with an owner were half-closed, by how that ended. halfclose notices a close at its next look at the socket.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600},
		}, []string{"state", "end"}),
	}
	for _, state := range halfClosed() {
		for _, end := range []string{api.Destroyed, api.PeerGone, api.Closed} {
			h.halfClosed.WithLabelValues(state.String(), end)
		}
	}
	return h
}

// observeEnd records how long a candidate has been half-closed, if the event ended that. Candidates that no process
// owned, or that only an earlier reaper has seen, do not count.
func (h *histograms) observeEnd(c *candidate, e event, now monotime.Time) {
	end := ""
	switch e {
	case eventDestroyed:
		end = api.Destroyed
	case eventPeerGone:
		end = api.PeerGone
	case eventGone, eventClosed:
		end = api.Closed
	}
	if end != "" && c.history.Owned && c.isConfirmed() {
		h.halfClosed.WithLabelValues(c.history.State.String(), end).Observe(now.Sub(c.history.Since).Seconds())
	}
}

// Describe implements prometheus.Collector.
func (h *histograms) Describe(ch chan<- *prometheus.Desc) {
	h.lateness.Describe(ch)
	h.sweeps.Describe(ch)
	h.halfClosed.Describe(ch)
}

// Collect implements prometheus.Collector.
func (h *histograms) Collect(ch chan<- prometheus.Metric) {
	h.lateness.Collect(ch)
	h.sweeps.Collect(ch)
	h.halfClosed.Collect(ch)
}

// Histograms returns the reaper's histograms. They may be collected at any time, also while the loop hangs.
func (r *Reaper) Histograms() prometheus.Collector { return r.histograms }
