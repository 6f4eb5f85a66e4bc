// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// crowd sweeps the network namespaces with very many half-closed sockets, whose sweeps would delay the others: on a goroutine
// of its own, one after the other, within a part of the CPU budget. Its caller, Find, runs the reports on its own goroutine. Find
// calls all methods.
type crowd struct {
	sweeper
	members map[netns.Identity]bool // by their size
	limit   int                     // of the sockets of a network namespace that is no member
	current *crowdSweep             // nil: none runs
	reports chan func()             // of current
}

// crowdSweep is a sweep that runs.
type crowdSweep struct {
	order dumpOrder
	began monotime.Time
	done  chan dump // has room for one
}

// crowdLimit is how many half-closed sockets a sweep beside others reads. It costs up to 50 ms: 12 ms for the sockets, and
// the rest the first time for their roles.
const crowdLimit = 8192

// crowdShare is the crowd's part of the CPU budget, while there is one. The others keep the rest.
const crowdShare = 0.25

// newCrowd returns an empty crowd.
func newCrowd(opener Opener, clock monotime.Clock, budget float64, limit int) crowd {
	c := crowd{
		sweeper: newSweeper(opener, pacing.New(budget*crowdShare, clock.Now()), clock, dueNow),
		members: make(map[netns.Identity]bool), limit: cmp.Or(limit, crowdLimit), reports: make(chan func()),
	}
	return c
}

// retain forgets the members that are not in the set.
func (c *crowd) retain(set []Netns) {
	was := c.members
	c.members = make(map[netns.Identity]bool)
	for _, n := range set {
		if was[n.Identity] {
			c.members[n.Identity] = true
		}
	}
}

// assign replaces the network namespaces of the crowd and of the sweeper beside it, which has the crowd's part of the budget
// too while there is no crowd.
func (c *crowd) assign(alone, others []Netns, beside *sweeper, budget float64, now monotime.Time) {
	c.queue.merge(&beside.queue)
	c.replace(alone, now)
	beside.replace(others, now)
	if len(alone) > 0 {
		budget *= 1 - crowdShare
	}
	beside.pacer.SetShare(now, budget)
}

// list returns the network namespaces of the crowd, in the order of their identities.
func (c *crowd) list() []netns.Identity {
	ids := make([]netns.Identity, 0, len(c.queue.byID))
	for id := range c.queue.byID {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b netns.Identity) int {
		return cmp.Or(cmp.Compare(a.Cookie, b.Cookie), cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Inode, b.Inode))
	})
	return ids
}

// idleAlone returns the time until the next sweep is due. A sweep that runs wakes Find by its reports.
func (c *crowd) idleAlone(now monotime.Time) time.Duration {
	if c.current != nil {
		return time.Hour
	}
	return c.idle(now)
}

// startNext starts the sweep that is due, if none runs.
func (c *crowd) startNext(ctx context.Context, now monotime.Time, sink Sink) {
	if c.current != nil {
		return
	}
	next := c.dueEntry(now)
	if next == nil {
		return
	}
	s := &crowdSweep{order: c.order(next), began: now, done: make(chan dump, 1)}
	c.current = s
	go func() {
		d := c.dump(s.order, func(batch []Seen) error {
			return c.report(ctx, func() { sink.Seen(batch) })
		})
		s.done <- d
		_ = c.report(ctx, func() {}) // wakes Find
	}()
}

// report has Find run a report, and waits until it has.
func (c *crowd) report(ctx context.Context, run func()) error {
	done := make(chan struct{})
	select {
	case c.reports <- func() { run(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finishCurrent reports the cost or the failure of a sweep that has ended. A complete sweep it returns with the number of
// sockets, for the caller to report.
func (c *crowd) finishCurrent(sink Sink) (sweep Sweep, sockets int, complete bool) {
	s := c.current
	if s == nil {
		return Sweep{}, 0, false
	}
	select {
	case d := <-s.done:
		c.current = nil
		e := c.queue.byID[s.order.netns.Identity]
		if e == nil { // it has left the crowd
			c.pacer.Spend(c.clock.Now(), d.cpu)
			sink.Cost(Cost{CPU: d.cpu})
			return Sweep{}, 0, false
		}
		sweep, complete = c.finish(e, s.began, &d, sink)
		if complete && d.sockets <= c.limit/2 {
			delete(c.members, s.order.netns.Identity)
		}
		return sweep, d.sockets, complete
	default:
		return Sweep{}, 0, false
	}
}

// wait waits for the sweep that runs. The context of startNext is done.
func (c *crowd) wait() {
	if c.current != nil {
		<-c.current.done
		c.current = nil
	}
}
