// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// span is the interval in which an event happened.
type span struct{ from, to time.Time }

// couldBe reports whether both intervals may have the same event.
func (s span) couldBe(other span) bool { return !s.to.Before(other.from) && !other.to.Before(s.from) }

// since returns when a socket became half-closed, according to the reaper.
func (n *node) since(cookie uint64) (span, bool) {
	n.tb.Helper()
	s, ok := n.allSince()[cookie]
	return s, ok
}

// allSince is since for all known sockets.
func (n *node) allSince() map[uint64]span {
	n.tb.Helper()
	found := make(map[uint64]span)
	from := n.now()
	views := n.sockets(api.SocketQuery{})
	to := n.now()
	for _, v := range views {
		if v.Age != nil {
			age := time.Duration(*v.Age)
			found[v.Cookie] = span{from.Add(-age), to.Add(-age)}
		}
	}
	return found
}

// awaitAge waits until a socket has reached an age, and returns when it became half-closed.
func (n *node) awaitAge(cookie uint64, age time.Duration) (since span) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "the socket has been half-closed for "+age.String(), func() bool {
		s, ok := n.since(cookie)
		since = s
		return ok && n.ago(s.from) > age
	})
	return since
}

// TestSocketMissedByADumpKeepsItsAge hides a socket, whose age the kernel cannot prove, from the reaper for
// some sweeps.
func TestSocketMissedByADumpKeepsItsAge(t *testing.T) {
	const grace = 3 * unproven
	eachFinder(t, func(t *testing.T, finderName string) {
		ns := newNS(t)
		var hidden, misses atomic.Uint64
		n := newNode(t, finderName, func(c *reaper.Config) {
			attentive(c)
			filterSeen(c, func(batch []finder.Seen) []finder.Seen {
				kept := slices.DeleteFunc(batch, func(s finder.Seen) bool { return s.Socket.ID.Cookie() == hidden.Load() })
				misses.Add(uint64(len(batch) - len(kept)))
				return kept
			})
		})
		n.register(ns, timing(inetdiag.CloseWait, grace))
		p := ns.Connect(t, nstest.IPv4)
		cookie := cookieOf(t, p.Server)
		shut(t, p)
		n.unprovable(ns, p.Server)
		before := n.awaitAge(cookie, unproven)
		hidden.Store(cookie)
		nstest.Eventually(t, patience, "two sweeps missed it", func() bool { return misses.Load() >= 2 })
		if now, ok := n.since(cookie); !ok || !now.couldBe(before) {
			t.Errorf("known: %v, half-closed since %v while it is hidden, %v before", ok, now, before)
		}
		hidden.Store(0)
		n.awaitSweeps(2)
		n.leap(grace - unproven)
		n.neverMoved(t, n.awaitDestroyed(p.Server), grace)
	})
}

// churn opens and closes connections in the namespace until stop is closed, and returns how many.
func churn(tb testing.TB, ns *nstest.NS, stop <-chan struct{}) (made uint64) {
	l := ns.Listen(tb, nstest.IPv4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptTCP()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = c.SetLinger(0)
				c.Close()
			}
		}
	}()
	ns.Do(tb, func() {
		d := net.Dialer{KeepAlive: -1}
		d.SetMultipathTCP(false)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c, err := d.Dial("tcp4", l.Addr().String()); err == nil {
				_ = c.(*net.TCPConn).SetLinger(0)
				c.Close()
				made++
			}
		}
	})
	l.Close()
	<-done
	return made
}

// missCounter counts how many fewer sockets than want each sweep shows.
type missCounter struct {
	finder.Sink
	want, seen int
	misses     *atomic.Uint64
}

func (c *missCounter) Seen(batch []finder.Seen) {
	c.seen += len(batch)
	c.Sink.Seen(batch)
}

func (c *missCounter) Swept(sweep finder.Sweep) {
	c.misses.Add(uint64(max(c.want-c.seen, 0)))
	c.seen = 0
	c.Sink.Swept(sweep)
}

// TestSocketsKeepTheirAgesUnderChurn keeps some hundred half-closed sockets, whose ages the kernel cannot prove,
// in a small table while connections come and go in it, so that dumps miss some of them.
func TestSocketsKeepTheirAgesUnderChurn(t *testing.T) {
	const sockets, churning = 100, time.Second
	eachFinder(t, func(t *testing.T, finderName string) {
		ns := nstest.NewSmall(t, 64)
		var misses atomic.Uint64
		n := newNode(t, finderName, func(c *reaper.Config) {
			sweepEvery(10 * time.Millisecond)(c)
			c.Finder = finder.Wrapped{Finder: c.Finder, Sink: func(s finder.Sink) finder.Sink {
				return &missCounter{Sink: s, want: 2 * sockets, misses: &misses}
			}}
		})
		var conns []*net.TCPConn
		for range sockets {
			conns = append(conns, shut(t, ns.Connect(t, nstest.IPv4)).Server)
		}
		n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
		nstest.Eventually(t, patience, "all are known", func() bool {
			return n.status().Candidates[inetdiag.CloseWait.String()] == sockets
		})
		n.unprovable(ns, conns...)
		before := n.allSince()
		misses.Store(0)

		stop := make(chan struct{})
		var made atomic.Uint64
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { made.Add(churn(t, ns, stop)) })
		}
		time.AfterFunc(churning, func() { close(stop) })
		wg.Wait()
		t.Logf("%d connections came and went, %d times a dump missed a socket, in %d sweeps", made.Load(), misses.Load(), n.status().Finder.Sweeps)

		after := n.allSince()
		for _, c := range conns {
			cookie := cookieOf(t, c)
			if was, is := before[cookie], after[cookie]; !is.couldBe(was) {
				t.Errorf("socket %d: half-closed since %v, %v before", cookie, is, was)
			}
		}
	})
}
