// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"errors"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweeper dumps the half-closed sockets of one network namespace after another, each as often as its interval
// asks for and as its pacer allows. It works on its caller's goroutine.
type sweeper struct {
	dumper
	pacer    *pacing.Pacer
	queue    sweepQueue
	lastDump time.Duration // cost of the last dump of any network namespace
	// looksUpRoles reports whether the sweeper looks up the roles of a network namespace's sockets; nil: of none.
	looksUpRoles func(netns.Identity) bool
	// overfull is called instead of a report for a network namespace with more than maxSockets, before its sweep is
	// complete. nil: there is no maximum.
	overfull   func(netns.Identity)
	maxSockets int

	// requested are the network namespaces of a request; a sweep that begins after requestedAt answers it.
	requested   []netns.Identity
	requestedAt monotime.Time
}

// newSweeper returns a sweeper of no network namespaces. Sweepers that share a budget get the same pacer.
func newSweeper(opener Opener, pacer *pacing.Pacer, clock monotime.Clock, order sweepOrder) sweeper {
	return sweeper{dumper: dumper{opener: opener, clock: clock, batch: newBatch()}, pacer: pacer, queue: newSweepQueue(order)}
}

// replace replaces the set of network namespaces to sweep.
func (s *sweeper) replace(set []Netns, now monotime.Time) { s.queue.replace(set, now) }

// due returns the network namespace that sweep would sweep now; false if no sweep is due or the budget is
// spent.
func (s *sweeper) due(now monotime.Time) (Netns, bool) {
	next := s.dueEntry(now)
	if next == nil {
		return Netns{}, false
	}
	return next.netns, true
}

// dueEntry returns the entry that is due now, or else one whose sweep is requested; nil if there is none or the budget is
// spent.
func (s *sweeper) dueEntry(now monotime.Time) *sweepEntry {
	next := s.queue.peek()
	if next == nil || s.pacer.Wait(now) > 0 {
		return nil
	}
	if !now.Before(next.due) {
		return next
	}
	if e := s.nextRequested(); e != nil && s.pacer.WaitSpare(now, s.expectedCost(e)) == 0 {
		return e
	}
	return nil
}

// expectedCost returns the cost of an entry's next dump, 0 if it is unknown.
func (s *sweeper) expectedCost(e *sweepEntry) time.Duration { return cmp.Or(e.dump, s.lastDump) }

// idle returns the time until the next sweep is due.
func (s *sweeper) idle(now monotime.Time) time.Duration {
	next := s.queue.peek()
	if next == nil {
		return time.Hour
	}
	wait := max(next.due.Sub(now), s.pacer.Wait(now), 0)
	if e := s.nextRequested(); e != nil {
		wait = min(wait, s.pacer.WaitSpare(now, s.expectedCost(e)))
	}
	return wait
}

// sweep sweeps the network namespace that is due or requested, if any. It reports the sockets, the cost and a failure to
// sink; a complete sweep it returns, for the caller to report.
func (s *sweeper) sweep(now monotime.Time, sink Sink) (sweep Sweep, complete bool) {
	next := s.dueEntry(now)
	if next == nil {
		return Sweep{}, false
	}
	d := s.dump(s.order(next), func(batch []Seen) error {
		sink.Seen(batch)
		return nil
	})
	return s.finish(next, now, &d, sink)
}

// order returns the order to dump an entry's network namespace.
func (s *sweeper) order(e *sweepEntry) dumpOrder {
	o := dumpOrder{netns: e.netns, expected: s.expectedCost(e), roles: e.roles}
	o.looksUpRoles = s.looksUpRoles != nil && s.looksUpRoles(e.netns.Identity)
	if s.overfull != nil {
		o.maxSockets = s.maxSockets
	}
	return o
}

// finish spends the cost of an entry's dump and schedules the next one. It reports the cost and a failure to sink; a
// complete sweep it returns, for the caller to report.
func (s *sweeper) finish(e *sweepEntry, began monotime.Time, d *dump, sink Sink) (sweep Sweep, complete bool) {
	id, late := e.netns.Identity, max(began.Sub(e.due), 0)
	e.roles = d.roles
	if d.cost > 0 {
		e.dump, s.lastDump = d.cost, d.cost
	}
	s.pacer.Spend(s.clock.Now(), d.cpu)
	sink.Cost(Cost{CPU: d.cpu})
	if errors.Is(d.err, errOverfull) {
		s.overfull(id) // it is still due
		return Sweep{}, false
	}
	s.queue.reschedule(e, began)
	if d.err != nil {
		sink.Failed(id, d.err)
		return Sweep{}, false
	}
	return Sweep{Finder: NameSockDiag, Netns: []netns.Identity{id}, Began: d.began, Duration: d.duration, Late: late}, true
}
