// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
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

// swept notes how long a look at a namespace took and how late it came.
func (l *loop) swept(ns *registered, f *finder.Finding) {
	if f.Swept.IsZero() {
		return
	}
	ns.late = f.Late
	if f.Took > 0 {
		l.sweeping.sweeps++
		l.tally.sweeps.observe(f.Took)
	}
}

// finderSaid takes in how the finder works, and says so where that has changed for the worse or the better.
func (l *loop) finderSaid(s finder.FinderState) {
	was := l.finder
	l.finder = s
	switch {
	case !l.finderKnown:
		l.finderKnown = true
		args := []any{"finder", s.Name}
		if s.Why != "" {
			args = append(args, "why", s.Why)
		}
		l.log.Info("finder chosen", args...)
	case s.Name != was.Name && s.Why != "":
		l.warnings.warn(WarnFinder, "the finder fell back: sockets are found by "+s.Name+" until "+was.Name+" can do its work again", "why", s.Why)
	case s.Name != was.Name:
		l.log.Info("the finder works again", "finder", s.Name)
	case s.Why != was.Why && s.Why != "" && s.Name != finder.NameSockDiag:
		l.log.Info("the finder has sock_diag find what it cannot see", "why", s.Why)
	}
}

// keepingUp tells the operator when sweeping does not keep up, and when it does again, each at most once a
// minute. It does not where a namespace was swept a whole interval after its time: what is half-closed in
// it then is found late, and destroyed late.
func (l *loop) keepingUp(now monotime.Time) {
	s := &l.sweeping
	s.late = 0
	for _, ns := range l.registry.namespaces {
		if ns.watched() && ns.late > finder.SweepInterval(*ns.policy) {
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
