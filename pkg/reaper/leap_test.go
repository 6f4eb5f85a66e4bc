// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"cmp"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// leapingClock is ahead of the kernel's clock by the sum of all leaps, so graces of an hour end without a wait, even on
// a busy machine. leapingSink and leapingConn convert the kernel's reports of real sockets to its time.
type leapingClock struct {
	kernel monotime.Clock

	mu    sync.Mutex
	leaps []leap
}

type leap struct {
	at monotime.Time // of the kernel's clock
	by time.Duration
}

func newLeapingClock(tb testing.TB) *leapingClock {
	tb.Helper()
	return &leapingClock{kernel: nstest.Clock(tb)}
}

// Now implements monotime.Clock.
func (c *leapingClock) Now() monotime.Time { return c.when(c.kernel.Now()) }

// Wall implements monotime.Clock.
func (c *leapingClock) Wall() time.Time {
	now := c.kernel.Now()
	return c.kernel.Wall().Add(c.when(now).Sub(now))
}

// when converts a time of the kernel's clock to this clock.
func (c *leapingClock) when(at monotime.Time) monotime.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	converted := at
	for _, l := range c.leaps {
		if !at.IsZero() && !at.Before(l.at) {
			converted = converted.Add(l.by)
		}
	}
	return converted
}

// leap sets the clock forward. It waits, so that every earlier and every later event is at least two ticks of the
// kernel's clock away.
func (c *leapingClock) leap(by time.Duration) {
	time.Sleep(2 * tick)
	c.skip(by)
	time.Sleep(2 * tick)
}

// skip sets the clock forward without a wait. No socket may have an event shortly before or after it.
func (c *leapingClock) skip(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaps = append(c.leaps, leap{c.kernel.Now(), by})
}

// convert converts the times of a socket, which the kernel looked at between two moments, to this clock. It reports
// false if it is unknown whether a time is before or after a leap.
func (c *leapingClock) convert(s *inetdiag.Socket, asked, at monotime.Time) (known bool) {
	for _, ago := range []*time.Duration{&s.Info.LastDataRecv, &s.Info.LastAckRecv} {
		earliest, latest := c.when(max(asked.Add(-*ago-tick), 1)), c.when(max(at.Add(-*ago), 1))
		if s.HasInfo && latest.Sub(earliest) > at.Sub(asked)+2*tick {
			return false
		}
		*ago = c.when(at).Sub(latest)
	}
	return true
}

// leapingSink converts for a reaper what a finder reports.
type leapingSink struct {
	finder.Sink
	clock *leapingClock
}

// Seen implements finder.Sink.
func (s leapingSink) Seen(batch []finder.Seen) {
	converted := batch[:0]
	for _, seen := range batch {
		if s.clock.convert(&seen.Socket, cmp.Or(seen.Asked, seen.At), seen.At) { // otherwise a later look shows it
			seen.At, seen.Asked, seen.Entered = s.clock.when(seen.At), s.clock.when(seen.Asked), s.clock.when(seen.Entered)
			converted = append(converted, seen)
		}
	}
	if len(converted) > 0 {
		s.Sink.Seen(converted)
	}
}

// Swept implements finder.Sink.
func (s leapingSink) Swept(sweep finder.Sweep) {
	sweep.Began = s.clock.when(sweep.Began)
	s.Sink.Swept(sweep)
}

// leapingConn converts for an examiner what the kernel reports.
type leapingConn struct {
	reaper.Conn
	clock *leapingClock
}

// LookupAll repeats the look until all times can be converted.
func (c leapingConn) LookupAll(ids []inetdiag.ID, yield func(int, *inetdiag.Socket, error)) error {
	type look struct {
		socket inetdiag.Socket
		err    error
	}
	found := make([]look, len(ids))
	for known := false; !known; {
		known = true
		asked := c.clock.kernel.Now()
		err := c.Conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
			if found[i] = (look{err: err}); s != nil {
				found[i].socket = *s
				known = c.clock.convert(&found[i].socket, asked, c.clock.kernel.Now()) && known
			}
		})
		if err != nil {
			return err
		}
	}
	for i := range found {
		if found[i].err != nil {
			yield(i, nil, found[i].err)
		} else {
			yield(i, &found[i].socket, nil)
		}
	}
	return nil
}

// now is the time by the node's clock.
func (n *node) now() time.Time { return n.clock.Wall() }

// ago returns the time since a time of the node's clock.
func (n *node) ago(t time.Time) time.Duration { return n.now().Sub(t) }

// leap sets the node's clock forward.
func (n *node) leap(by time.Duration) { n.clock.leap(by) }

// pass lets at least that much time pass, in shorter steps. After each step it waits until the reaper has noticed the
// progress of the moving connections.
func (n *node) pass(d time.Duration, moving ...net.Conn) {
	n.tb.Helper()
	for range 2 {
		n.leap(d * 3 / 4)
		for _, c := range moving {
			nstest.Eventually(n.tb, patience, "its progress is noticed", func() bool {
				v, ok := n.find(c, api.SocketQuery{})
				return ok && v.Idle != nil && time.Duration(*v.Idle) < d/2
			})
		}
	}
}

// awaitKnown waits until the reaper knows the socket of conn.
func (n *node) awaitKnown(conn net.Conn) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "the socket is known", func() bool {
		_, ok := n.find(conn, api.SocketQuery{})
		return ok
	})
}
