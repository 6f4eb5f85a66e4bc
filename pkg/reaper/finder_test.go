// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// newFake returns a finder that reports only the test's sockets, and a configuration with it.
func newFake() (*finder.Fake, func(*reaper.Config)) {
	f := finder.NewFake("fake", nil)
	return f, func(c *reaper.Config) { c.Finder = f }
}

// awaitTarget waits until the namespace is in the finder's set.
func awaitTarget(tb testing.TB, f *finder.Fake, id netns.Identity) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if _, err := f.Await(ctx, id); err != nil {
		tb.Fatalf("the finder is not asked to look in %v: %v", id, err)
	}
}

// report makes the finder report sockets of the namespace, and returns after the reaper has processed them.
func report(tb testing.TB, f *finder.Fake, id netns.Identity, sockets []finder.Seen) {
	tb.Helper()
	for i := range sockets {
		sockets[i].Netns = id
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if err := f.Report(ctx, func(s finder.Sink) { s.Seen(sockets) }); err != nil {
		tb.Fatal(err)
	}
}

// longGrace outlasts every test, and is shorter than any machine's time from its boot to its first test: nothing
// can have become half-closed before that.
const longGrace = 30 * time.Second

// enteredLongAgo is a finder's look at a socket after the end of its longGrace.
func enteredLongAgo(s inetdiag.Socket, at monotime.Time) finder.Seen {
	return finder.Seen{Socket: s, At: at, Entered: at.Add(-longGrace - time.Second)}
}

// sweepEvery makes the finder look in each namespace at that interval, however long the graces are.
func sweepEvery(interval time.Duration) func(*reaper.Config) {
	return func(c *reaper.Config) {
		c.Finder = finder.Wrapped{Finder: c.Finder, Target: func(n *finder.Netns) { n.Interval, n.Repair = interval, interval }}
	}
}

// impatient makes the finder sweep without a pause.
func impatient(c *reaper.Config) { sweepEvery(2 * time.Millisecond)(c) }

// attentive makes the finder sweep ten times a second.
func attentive(c *reaper.Config) { sweepEvery(100 * time.Millisecond)(c) }

// often makes the finder sweep twice a second, so it finds a missed socket within half a second.
func often(c *reaper.Config) { sweepEvery(500 * time.Millisecond)(c) }

// filterSeen passes each batch of the finder through keep before the reaper gets it.
func filterSeen(c *reaper.Config, keep func(batch []finder.Seen) []finder.Seen) {
	c.Finder = finder.Wrapped{Finder: c.Finder, Sink: func(s finder.Sink) finder.Sink { return filter{s, keep} }}
}

type filter struct {
	finder.Sink
	keep func([]finder.Seen) []finder.Seen
}

func (f filter) Seen(batch []finder.Seen) {
	if batch = f.keep(batch); len(batch) > 0 {
		f.Sink.Seen(batch)
	}
}

// gate can block a finder in a report.
type gate struct {
	mu      sync.Mutex
	waiting atomic.Bool
}

func (g *gate) use(c *reaper.Config) {
	c.Finder = finder.Wrapped{Finder: c.Finder, Sink: func(s finder.Sink) finder.Sink { return gated{s, g} }}
}

func (g *gate) pass() {
	g.waiting.Store(true)
	g.mu.Lock()
	g.waiting.Store(false)
	g.mu.Unlock()
}

type gated struct {
	finder.Sink
	gate *gate
}

func (g gated) Seen(batch []finder.Seen)            { g.gate.pass(); g.Sink.Seen(batch) }
func (g gated) Swept(sweep finder.Sweep)            { g.gate.pass(); g.Sink.Swept(sweep) }
func (g gated) Cost(cost finder.Cost)               { g.gate.pass(); g.Sink.Cost(cost) }
func (g gated) Failed(id netns.Identity, err error) { g.gate.pass(); g.Sink.Failed(id, err) }

// hold blocks the finder, and returns some time after its last read. open lets it continue.
func (g *gate) hold(tb testing.TB) (open func()) {
	tb.Helper()
	g.mu.Lock()
	nstest.Eventually(tb, patience, "the finder is held up", g.waiting.Load)
	since := time.Now()
	nstest.Eventually(tb, patience, "its last read is some time ago", func() bool { return time.Since(since) > 200*time.Millisecond })
	return g.mu.Unlock
}
