// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// finderSink runs the finder's reports on the loop, one at a time. Once ctx is done, or Run has returned, it drops them.
type finderSink struct {
	reaper *Reaper
	ctx    context.Context
	costs  *finderCosts
}

// finderCosts has the sums of a finder's Cost reports. They are atomic and not part of the loop, so that these reports,
// the only ones on a quiet node, do not wake it.
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

// Swept implements finder.Sink. It splits a sweep of many namespaces, so that the loop can serve deadlines in between.
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

// sweeping tracks whether the finder's sweeps are on schedule.
type sweeping struct {
	sweeps    uint64
	lag       time.Duration // of the most delayed namespace; 0 while all are swept in time
	warned    bool
	changedAt monotime.Time // when warned last changed
}

// activeNetns returns a registered network namespace that is swept, nil if there is none: a DEL or a new policy may
// overtake the finder's report.
func (l *loop) activeNetns(id netns.Identity) *registered {
	if ns := l.registry.namespaces[id]; ns != nil && ns.isSwept() {
		return ns
	}
	return nil
}

// seen passes the finder's sockets to the tracker.
func (l *loop) seen(batch []finder.Seen) {
	at := l.clock.Now()
	var ns *registered
	for i := range batch {
		s := &batch[i]
		if i == 0 || s.Netns != batch[i-1].Netns {
			ns = l.activeNetns(s.Netns)
		}
		if ns != nil {
			l.tracker.seen(ns, s, at)
		}
	}
}

// countSweep counts a sweep, unless none of its namespaces is registered now.
func (l *loop) countSweep(sweep *finder.Sweep) {
	if slices.ContainsFunc(sweep.Netns, func(id netns.Identity) bool { return l.activeNetns(id) != nil }) {
		l.sweeping.sweeps++
		l.histograms.sweeps.WithLabelValues(sweep.Finder).Observe(sweep.Duration.Seconds())
	}
}

// swept records the sweep of namespaces, and queues their candidates that the sweep did not show. It stops after
// maxLoopCandidates and returns the remaining namespaces.
func (l *loop) swept(sweep *finder.Sweep, ids []netns.Identity) (left []netns.Identity) {
	for counted := 0; len(ids) > 0 && counted < maxLoopCandidates; ids = ids[1:] {
		ns := l.activeNetns(ids[0])
		if ns == nil {
			continue
		}
		ns.problem, ns.lastSweep, ns.sweepLag = "", sweep.Began, sweep.Late
		l.tracker.queueNotShown(ns, sweep.Began, l.clock.Now())
		counted += len(ns.candidates)
	}
	return ids
}

// failed records why the finder could not read a namespace. If the namespace was deleted, it drops the candidates.
func (l *loop) failed(id netns.Identity, err error) {
	ns := l.activeNetns(id)
	if ns == nil {
		return
	}
	ns.problem = err.Error()
	l.recordEntry(ns, err)
	if netns.IsGone(err) {
		l.tracker.netnsGone = true
		l.forget(ns, l.clock.Now())
		l.tracker.netnsGone = false
	}
}

// setFinderState records the finder's state, and logs fallbacks and recoveries.
func (l *loop) setFinderState(s finder.State) {
	was := l.finder
	s.Crowded = slices.Clone(s.Crowded)
	l.finder = s
	l.noticeCrowded(was.Crowded)
	switch {
	case !l.finderKnown:
		l.finderKnown = true
		args := []any{"finder", s.Name}
		if s.Why != "" {
			args = append(args, "why", s.Why)
		}
		l.log.Info("finder chosen", args...)
	case s.Name != was.Name && s.Why != "":
		l.warnings.warn(WarnFinder, "finder fell back from "+was.Name+" to "+s.Name, "why", s.Why)
	case s.Name != was.Name:
		l.log.Info("finder recovered", "finder", s.Name)
	case s.Why != was.Why && s.Why != "" && s.Name != finder.NameSockDiag:
		l.log.Info("finder uses sock_diag for some network namespaces", "why", s.Why)
	}
}

// noticeCrowded logs which network namespaces are swept on their own from now on, and which are not any more.
func (l *loop) noticeCrowded(was []netns.Identity) {
	for _, id := range l.finder.Crowded {
		if ns := l.registry.namespaces[id]; ns != nil && !slices.Contains(was, id) {
			l.warnings.warn(WarnCrowded, "network namespace has very many half-closed sockets: it is swept on its own, and its sockets are found later",
				crowdedArgs(ns)...)
		}
	}
	for _, id := range was {
		if ns := l.registry.namespaces[id]; ns != nil && !slices.Contains(l.finder.Crowded, id) {
			l.log.Info("network namespace has few half-closed sockets again", crowdedArgs(ns)...)
		}
	}
}

func crowdedArgs(ns *registered) []any {
	r := &ns.records[0]
	return []any{"pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name, "container", r.ContainerID, "netns", r.Netns.Path, "sockets", len(ns.candidates)}
}

// crowded lists the registered network namespaces that are swept on their own.
func (l *loop) crowded() (list []api.CrowdedView) {
	for _, id := range l.finder.Crowded {
		if ns := l.registry.namespaces[id]; ns != nil {
			r := &ns.records[0]
			list = append(list, api.CrowdedView{Container: r.ContainerID, Pod: r.Pod, Netns: r.Netns.Path, Sockets: len(ns.candidates)})
		}
	}
	return list
}

// overdue returns how long a sweep is due that has not been reported; 0 if none is, or if the last one failed.
func (ns *registered) overdue(now monotime.Time) time.Duration {
	if ns.problem != "" {
		return 0
	}
	return max(now.Sub(max(ns.lastSweep, ns.registeredAt).Add(max(ns.Interval, ns.Repair))), 0)
}

// checkSweepLag logs when sweeps fall behind schedule and when they catch up, each at most once a minute. They are behind
// while the last sweep of any namespace was a whole interval late, or the next one is: its half-closed sockets are then
// destroyed late.
func (l *loop) checkSweepLag(now monotime.Time) {
	s := &l.sweeping
	s.lag = 0
	for _, ns := range l.registry.namespaces {
		if lag := max(ns.sweepLag, ns.overdue(now)); ns.isSwept() && lag > ns.Interval {
			s.lag = max(s.lag, lag)
		}
	}
	if isBehind := s.lag > 0; isBehind == s.warned || (!s.changedAt.IsZero() && now.Sub(s.changedAt) < time.Minute) {
		return
	}
	s.warned, s.changedAt = !s.warned, now
	if s.warned {
		l.warnings.warn(WarnSweeping, "sweeps are behind schedule, destroys will be late: raise --cpu-budget, or set net.ipv4.tcp_child_ehash_entries before containers are created",
			"lag", s.lag, "namespaces", len(l.registry.namespaces), "crowded", len(l.finder.Crowded), "cpu", l.finderCosts.total().CPU)
		return
	}
	l.log.Info("sweeps are on schedule again")
}
