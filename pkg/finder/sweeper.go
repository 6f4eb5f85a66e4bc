// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sweeper dumps the half-closed sockets of one network namespace after another, each as often as its interval
// asks for and as its pacer allows. It works on its caller's goroutine.
type sweeper struct {
	opener   Opener
	clock    monotime.Clock
	pacer    *pacing.Pacer
	queue    sweepQueue
	batch    batch
	lastDump time.Duration // cost of the last dump of any network namespace
	// looksUpRoles reports whether the sweeper looks up the roles of a network namespace's sockets; nil: of none.
	looksUpRoles func(netns.Identity) bool

	// requested are the network namespaces of a request; a sweep that begins after requestedAt answers it.
	requested   []netns.Identity
	requestedAt monotime.Time
}

// newSweeper returns a sweeper of no network namespaces. Sweepers that share a budget get the same pacer.
func newSweeper(opener Opener, pacer *pacing.Pacer, clock monotime.Clock, order sweepOrder) sweeper {
	return sweeper{opener: opener, clock: clock, pacer: pacer, queue: newSweepQueue(order), batch: newBatch()}
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
	id, late := next.netns.Identity, max(now.Sub(next.due), 0)
	began := s.clock.Now()
	cpu, err := s.dump(next, sink)
	ended := s.clock.Now() // before the sink takes its time
	s.batch.flush(sink)
	s.pacer.Spend(s.clock.Now(), cpu)
	s.queue.reschedule(next, now)
	sink.Cost(Cost{CPU: cpu})
	if err != nil {
		sink.Failed(id, err)
		return Sweep{}, false
	}
	return Sweep{Finder: NameSockDiag, Netns: []netns.Identity{id}, Began: began, Duration: ended.Sub(began), Late: late}, true
}

// cheapDump is the cost of a dump below which it is not worth asking first whether the network namespace has
// any TCP socket: asking costs 0.08 ms.
const cheapDump = 500 * time.Microsecond

// dump reports the half-closed sockets of one network namespace, except for a last batch, which stays in s.batch,
// and returns what that cost.
func (s *sweeper) dump(e *sweepEntry, sink Sink) (cpu time.Duration, err error) {
	expected := s.expectedCost(e)
	conn, err := s.opener.openIf(e.netns, func() (inUse bool) {
		if expected > 0 && expected < cheapDump {
			return true
		}
		cpu += pacing.MeasureCPU(func() { inUse = hasTCP() })
		return inUse
	})
	if err != nil || conn == nil {
		return cpu, err
	}
	lookup := roleLookup{opener: s.opener, netns: e.netns, before: e.roles}
	if s.looksUpRoles == nil || !s.looksUpRoles(e.netns.Identity) {
		lookup.off = true
	}
	s.lastDump = pacing.MeasureCPU(func() { err = s.read(conn, &lookup, sink) })
	e.roles = lookup.finish(err == nil)
	e.dump = s.lastDump
	conn.Close() // not later: it pins the network namespace
	return cpu + s.lastDump, err
}

// read reports the half-closed sockets that conn dumps, except for a last batch, which stays in s.batch.
func (s *sweeper) read(conn *inetdiag.Conn, lookup *roleLookup, sink Sink) error {
	asked := s.clock.Now()
	err := conn.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(sock *inetdiag.Socket) error {
		if s.batch.isFull() {
			s.complete(lookup)
			s.batch.flush(sink)
		}
		s.batch.add(Seen{Netns: lookup.netns.Identity, Socket: *sock, Asked: asked})
		return nil
	})
	s.complete(lookup)
	return err
}

// complete adds to the batch the values that a dump lacks: the roles, and one time for all of its sockets, which is not
// before the kernel read any of them. Reading the clock costs a tenth of what reading a socket does.
func (s *sweeper) complete(lookup *roleLookup) {
	s.batch.stamp(s.clock.Now())
	lookup.decide(s.batch.seen)
}
