// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// finderSink hands the finder's reports to the loop, and waits until the loop has taken each. Once ctx is done, or
// the loop has ended, it drops them.
type finderSink struct {
	reaper *Reaper
	ctx    context.Context
	costs  *finderCosts
}

// finderCosts are the sums of a finder's Cost reports. They are atomic instead of the loop's own, so that a report
// wakes no loop: on a quiet node it is the only one.
type finderCosts struct {
	cpu    atomic.Int64 // time.Duration
	missed atomic.Uint64
}

func (c *finderCosts) total() finder.Cost {
	return finder.Cost{CPU: time.Duration(c.cpu.Load()), Missed: c.missed.Load()}
}

// Seen implements finder.Sink.
func (s finderSink) Seen(batch []finder.Seen) {
	s.reaper.do(s.ctx, func(l *loop) { l.seen(batch) })
}

// Swept implements finder.Sink. A sweep of many namespaces it hands over in parts, between which the loop has time
// for its deadlines.
func (s finderSink) Swept(sweep finder.Sweep) {
	left := sweep.Netns
	ok := s.reaper.do(s.ctx, func(l *loop) {
		l.countSweep(&sweep)
		left = l.swept(&sweep, left)
	})
	for ok && len(left) > 0 {
		ok = s.reaper.do(s.ctx, func(l *loop) { left = l.swept(&sweep, left) })
	}
}

// Failed implements finder.Sink.
func (s finderSink) Failed(id netns.Identity, err error) {
	s.reaper.do(s.ctx, func(l *loop) { l.failed(id, err) })
}

// Cost implements finder.Sink.
func (s finderSink) Cost(cost finder.Cost) {
	s.costs.cpu.Add(int64(cost.CPU))
	s.costs.missed.Add(cost.Missed)
}

// State implements finder.Sink.
func (s finderSink) State(state finder.State) {
	s.reaper.do(s.ctx, func(l *loop) { l.setFinderState(state) })
}

// sweeping is how the finder keeps up.
type sweeping struct {
	sweeps    uint64
	late      time.Duration // of the namespace that is worst off, 0 while all are swept in time
	warned    bool          // that sweeping is late
	changedAt monotime.Time // when warned last changed
}

// active returns the registered namespace, nil if it is not registered or nothing is looked for in it: a DEL or a
// new policy was faster than the finder's report.
func (l *loop) active(id netns.Identity) *registered {
	if ns := l.registry.namespaces[id]; ns != nil && ns.watched() {
		return ns
	}
	return nil
}

// seen records sockets that the finder has seen.
func (l *loop) seen(batch []finder.Seen) {
	at := l.clock.Now()
	var ns *registered
	for i := range batch {
		s := &batch[i]
		if i == 0 || s.Netns != batch[i-1].Netns {
			ns = l.active(s.Netns)
		}
		if ns != nil {
			l.tracker.seen(ns, s, at)
		}
	}
}

// countSweep counts a sweep, unless no namespace of it is registered any more.
func (l *loop) countSweep(sweep *finder.Sweep) {
	if slices.ContainsFunc(sweep.Netns, func(id netns.Identity) bool { return l.active(id) != nil }) {
		l.sweeping.sweeps++
		l.histograms.sweeps.WithLabelValues(sweep.Finder).Observe(sweep.Duration.Seconds())
	}
}

// swept records that some namespaces have been swept, and queues their candidates that the sweep has not shown. It
// stops after maxLoopCandidates and returns the namespaces that are left.
func (l *loop) swept(sweep *finder.Sweep, ids []netns.Identity) (left []netns.Identity) {
	for counted := 0; len(ids) > 0 && counted < maxLoopCandidates; ids = ids[1:] {
		ns := l.active(ids[0])
		if ns == nil {
			continue
		}
		ns.problem, ns.lastSweep, ns.sweepLate = "", sweep.Began, sweep.Late
		l.tracker.missed(ns, sweep.Began, l.clock.Now())
		counted += len(ns.candidates)
	}
	return ids
}

// failed records why the finder could not read a namespace, and forgets the sockets of one that is gone.
func (l *loop) failed(id netns.Identity, err error) {
	ns := l.active(id)
	if ns == nil {
		return
	}
	ns.problem = err.Error()
	l.noteEntry(ns, err)
	if netns.IsGone(err) {
		l.forget(ns, l.clock.Now())
	}
}

// setFinderState records how the finder works, and logs a change for the worse or the better.
func (l *loop) setFinderState(s finder.State) {
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

// keepingUp logs when sweeping starts to lag behind and when it catches up, each at most once a minute. Sweeping
// lags behind while a namespace was last swept a whole interval too late: its half-closed sockets are then found
// late, and destroyed late.
func (l *loop) keepingUp(now monotime.Time) {
	s := &l.sweeping
	s.late = 0
	for _, ns := range l.registry.namespaces {
		if ns.watched() && ns.sweepLate > ns.Interval {
			s.late = max(s.late, ns.sweepLate)
		}
	}
	if late := s.late > 0; late == s.warned || (!s.changedAt.IsZero() && now.Sub(s.changedAt) < time.Minute) {
		return
	}
	s.warned, s.changedAt = !s.warned, now
	if s.warned {
		l.warnings.warn(WarnSweeping, "sweeping lags behind what the graces ask for, and half-closed sockets are destroyed late: raise --cpu-budget, or set net.ipv4.tcp_child_ehash_entries before containers are made",
			"late", s.late, "namespaces", len(l.registry.namespaces), "cpu", l.finderCosts.total().CPU)
		return
	}
	l.log.Info("sweeping is in time again")
}
