// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// sweeping is what is known of how the finder keeps up.
type sweeping struct {
	sweeps uint64
	cpu    time.Duration
	late   time.Duration // of the namespace that is worst off, 0 while all are swept in time
	said   bool          // that it is late
	at     monotime.Time // when that last changed
}

// swept notes what a look at a namespace cost and how late it came.
func (l *loop) swept(ns *registered, f Finding) {
	l.sweeping.cpu += f.CPU
	if !f.Swept.IsZero() {
		l.sweeping.sweeps++
		l.tally.sweeps.observe(f.Took)
		ns.late = f.Late
	}
}

// keepingUp tells the operator when sweeping does not keep up, and when it does again, each at most once a
// minute. It does not where a namespace was swept a whole interval after its time: what is half-closed in
// it then is found late, and destroyed late.
func (l *loop) keepingUp(now monotime.Time) {
	s := &l.sweeping
	s.late = 0
	for _, ns := range l.registry.namespaces {
		if ns.watched() && ns.late > SweepInterval(*ns.policy) {
			s.late = max(s.late, ns.late)
		}
	}
	if late := s.late > 0; late == s.said || (!s.at.IsZero() && now.Sub(s.at) < time.Minute) {
		return
	}
	s.said, s.at = !s.said, now
	if s.said {
		l.warnings.warn(WarnSweeping, "sweeping lags behind what the graces ask for, and half-closed sockets are destroyed late: raise --cpu-budget, or set net.ipv4.tcp_child_ehash_entries before containers are made",
			"late", s.late, "namespaces", len(l.registry.namespaces), "cpu", s.cpu)
		return
	}
	l.log.Info("sweeping is in time again")
}
