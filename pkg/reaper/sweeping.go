// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"
)

// sweeping is what is known of how the finder keeps up.
type sweeping struct {
	late   bool
	worst  time.Duration // of the namespaces swept since it was last on time
	cpu    time.Duration
	sweeps uint64
}

// swept notes what a look at a namespace cost and whether it came in time: past twice its interval, what
// is past its grace is destroyed late, and the operator is told so once.
func (l *loop) swept(ns *registered, f Finding) {
	if f.Swept.IsZero() {
		return
	}
	s := &l.sweeping
	s.sweeps++
	s.cpu += f.CPU
	interval := sweepInterval(*ns.policy)
	switch {
	case f.Late > interval && !s.late:
		s.late = true
		l.log.Warn("sweeping is held back by --cpu-budget, and half-closed sockets are found late: raise it, or set net.ipv4.tcp_child_ehash_entries before containers are made",
			"late", f.Late, "interval", interval, "namespaces", len(l.registry.namespaces))
	case f.Late > interval:
		s.worst = max(s.worst, f.Late)
	case s.late && f.Late < interval/4:
		s.late, s.worst = false, 0
		l.log.Info("sweeping is in time again")
	}
}
