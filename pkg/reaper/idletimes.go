// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"time"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// followIdle records a look at a candidate, or another verdict on its last look, in its track.
func (t *tracker) followIdle(c *candidate, h *policy.History, s *inetdiag.Socket, v *policy.Verdict) {
	prev, verdict := &c.history, trackedVerdict(s, v)
	switch {
	case prev.Last.IsZero():
		c.idle.Begin(h, max(c.ns.registeredAt, c.ns.lastSweep), verdict)
		return
	case h.Start != prev.Start, h.ID != prev.ID: // another connection, or it was accepted
		if c.isConfirmed() {
			t.ended.Add(c.ns.pod(), prev, &c.idle, simulate.Closed, h.Last)
		}
		c.idle.Begin(h, prev.Last, verdict)
		return
	}
	c.idle.Continue(prev, h)
	if prev.Owned && !h.Owned && c.isConfirmed() {
		last := *h
		last.Owned = true
		t.ended.Add(c.ns.pod(), &last, &c.idle, simulate.Orphaned, h.Last)
	}
	c.idle.Set(verdict)
}

// trackedVerdict returns the part of a verdict that a track needs.
func trackedVerdict(s *inetdiag.Socket, v *policy.Verdict) simulate.Verdict {
	l := simulate.Verdict{Pending: policy.Unread(s) > 0 || s.WQueue > 0, Eligible: v.Act != policy.Off}
	if v.EndWhy.Ref.List == policy.ListRules {
		l.Rule = v.EndWhy.Ref.Index + 1
	}
	if v.Act == policy.Destroy && v.EndWhy.Grace != policy.Never {
		l.Grace = time.Duration(v.EndWhy.Grace)
	}
	return l
}

// countEnd adds a candidate that an event ends to the counts. One that only an earlier reaper has seen may have ended at any
// time: it does not count.
func (t *tracker) countEnd(c *candidate, e event, now monotime.Time) {
	end := simulate.Closed
	switch e {
	case eventDestroyed:
		end = simulate.Destroyed
	case eventPeerGone:
		end = simulate.PeerGone
	case eventForgotten:
		end = simulate.Unregistered
	default:
	}
	if t.netnsGone {
		end = simulate.NetnsGone
	}
	if c.isConfirmed() {
		t.ended.Add(c.ns.pod(), &c.history, &c.idle, end, now)
	}
}

// pod returns the pod of a network namespace.
func (ns *registered) pod() simulate.Pod {
	r := &ns.records[0]
	if r.Pod.Name == "" {
		return simulate.Pod{Namespace: r.Pod.Namespace, Container: r.ContainerID}
	}
	return simulate.Pod{Namespace: r.Pod.Namespace, Name: r.Pod.Name}
}

// takeEnded returns the counts of the sockets that have ended since the last call.
func (l *loop) takeEnded() simulate.Table {
	ended := l.tracker.ended
	l.tracker.ended = make(simulate.Table)
	return ended
}

// addLiving adds the candidates of a network namespace to the counts of living sockets.
func (l *loop) addLiving(t simulate.Table, ns *registered, at monotime.Time) {
	for _, c := range ns.candidates {
		if c.isConfirmed() {
			t.Add(ns.pod(), &c.history, &c.idle, simulate.Living, at)
		}
	}
}

// sampleLooks makes the finder look at each socket of a network namespace at least once per sample.
func sampleLooks(n *finder.Netns, sample time.Duration) {
	// The bpf finder walks at the interval Repair, and reads its set four times per Patience.
	n.Interval, n.Repair, n.Patience = min(n.Interval, sample), min(cmp.Or(n.Repair, n.Interval), sample), min(n.Patience, 4*sample)
}

// idleInterval is the time between two writes of the idle times: a kill loses that much.
const idleInterval = time.Minute

// idleSaver writes the counts of idle times. Between two calls of save it has what the last one could not write.
type idleSaver struct {
	store    *simulate.Store
	warnings *warnings
	writes   *writelog.Log
	hour     *simulate.Hour // that was written last; nil before the first
	left     simulate.Table // ended sockets for the next write
	failed   bool           // the last write
}

func newIdleSaver(dir string, w *warnings, writes *writelog.Log) *idleSaver {
	return &idleSaver{store: simulate.NewStore(dir), warnings: w, writes: writes, left: make(simulate.Table)}
}

// save writes the hour of a time, with more ended sockets and other living ones.
func (s *idleSaver) save(ended, living simulate.Table, at time.Time) {
	if next := simulate.NewHour(at); s.hour == nil || !s.hour.Start.Equal(next.Start) {
		if s.failed {
			s.write(at)
		}
		if s.failed {
			s.warnings.warn(WarnIdleTimes, "lost the idle times of an hour: simulate lacks them", "hour", s.hour.Start)
		}
		loaded, err := s.store.Load(at)
		if err != nil {
			s.warnings.warn(WarnIdleTimes, "cannot read the idle times of this hour: they start again", "error", err)
		}
		s.hour, s.failed = loaded, false
		if err := s.store.Prune(at); err != nil {
			s.warnings.warn(WarnIdleTimes, "cannot remove old idle times", "error", err)
		}
	}
	s.hour.Ended.Merge(s.left)
	s.hour.Ended.Merge(ended)
	clear(s.left)
	s.hour.Living, s.hour.Written = living, at
	s.write(at)
}

// write writes the hour. It warns of the first failure of several.
func (s *idleSaver) write(at time.Time) {
	err := s.store.Write(s.hour)
	s.writes.Report(api.UnwritableIdleTimes, s.store.Dir(), err, at)
	if err != nil && !s.failed {
		s.warnings.warn(WarnIdleTimes, "cannot save idle times: simulate lacks them until a later attempt succeeds", "error", err)
	}
	s.failed = err != nil
}

// saveIdleTimes writes the idle times periodically until ctx is done.
func (r *Reaper) saveIdleTimes(ctx context.Context, s *idleSaver) {
	tick := time.NewTicker(r.idleInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.saveIdle(ctx, s)
		}
	}
}

// saveIdle writes the idle times once. The ended sockets are taken first: a socket that ends after that counts as living, or
// counts at the next write.
func (r *Reaper) saveIdle(ctx context.Context, s *idleSaver) {
	ended, living, counted := make(simulate.Table), make(simulate.Table), false
	err := r.each(ctx,
		func(l *loop) {
			if counted = l.ready; counted { // before, no candidate is known: those of the last write may live
				ended = l.takeEnded()
			}
		},
		func(l *loop, ns *registered) { l.addLiving(living, ns, l.clock.Now()) })
	if counted && err == nil {
		s.save(ended, living, r.cfg.Clock.Wall())
		return
	}
	s.left.Merge(ended)
}

// saveLastIdle writes the idle times after the loop has ended.
func (l *loop) saveLastIdle(s *idleSaver) {
	if !l.ready {
		return
	}
	living := make(simulate.Table)
	for _, ns := range l.registry.namespaces {
		l.addLiving(living, ns, l.clock.Now())
	}
	s.save(l.takeEnded(), living, l.clock.Wall())
}
