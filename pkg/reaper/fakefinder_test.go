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

// puppet is a finder that finds what the test shows it.
type puppet struct {
	shows   chan func(found func(...finder.Finding))
	targets chan []finder.Target // the last set, once there is one
}

func newPuppet() *puppet {
	return &puppet{shows: make(chan func(func(...finder.Finding))), targets: make(chan []finder.Target, 1)}
}

func (p *puppet) use(c *reaper.Config) { c.Finder = p }

func (p *puppet) Name() string { return "puppet" }

func (p *puppet) Find(ctx context.Context, targets <-chan []finder.Target, found func(...finder.Finding)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			select {
			case <-p.targets:
			default:
			}
			p.targets <- set
		case show := <-p.shows:
			show(found)
		}
	}
}

// awaitTarget waits until the namespace is to be looked in.
func (p *puppet) awaitTarget(tb testing.TB, id netns.Identity) {
	tb.Helper()
	nstest.Eventually(tb, patience, "the finder is to look into the namespace", func() bool {
		select {
		case set := <-p.targets:
			for _, t := range set {
				if t.Identity == id {
					return true
				}
			}
		default:
		}
		return false
	})
}

// show hands the reaper a finding, and returns when it was taken.
func (p *puppet) show(f finder.Finding) {
	done := make(chan struct{})
	p.shows <- func(found func(...finder.Finding)) { defer close(done); found(f) }
	<-done
}

// longGrace is one that no test lasts. It is shorter than any machine needs from its boot to its first test:
// nothing can have become half-closed before that.
const longGrace = 30 * time.Second

// enteredLongAgo is a finder's look at a socket at some moment, when its longGrace was over.
func enteredLongAgo(s inetdiag.Socket, at monotime.Time) finder.Seen {
	return finder.Seen{Socket: s, At: at, Entered: at.Add(-longGrace - time.Second)}
}

// wrapped is the real finder with its targets and what it finds changed on the way.
type wrapped struct {
	finder.Finder
	target  func(*finder.Target)
	finding func(*finder.Finding)
}

func (w wrapped) Find(ctx context.Context, targets <-chan []finder.Target, found func(...finder.Finding)) error {
	changed := make(chan []finder.Target, 1)
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case set := <-targets:
				for i := range set {
					if w.target != nil {
						w.target(&set[i])
					}
				}
				select {
				case changed <- set:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return w.Finder.Find(ctx, changed, func(findings ...finder.Finding) {
		for i := range findings {
			if w.finding != nil {
				w.finding(&findings[i])
			}
		}
		found(findings...)
	})
}

// impatient makes the finder sweep without a pause.
func impatient(c *reaper.Config) {
	c.Finder = wrapped{Finder: c.Finder, target: func(t *finder.Target) { t.Interval = time.Nanosecond }}
}

// attentive makes the finder sweep ten times a second, however long the graces are.
func attentive(c *reaper.Config) {
	c.Finder = wrapped{Finder: c.Finder, target: func(t *finder.Target) { t.Interval = 100 * time.Millisecond }}
}

// gate can hold a finder up.
type gate struct {
	mu      sync.Mutex
	waiting atomic.Bool
}

func (g *gate) use(c *reaper.Config) {
	c.Finder = wrapped{Finder: c.Finder, finding: func(*finder.Finding) {
		g.waiting.Store(true)
		g.mu.Lock()
		g.waiting.Store(false)
		g.mu.Unlock()
	}}
}

// hold returns when the finder is held up, and its last look was some time ago. open lets it go on.
func (g *gate) hold(tb testing.TB) (open func()) {
	tb.Helper()
	g.mu.Lock()
	nstest.Eventually(tb, patience, "the finder is held up", g.waiting.Load)
	since := time.Now()
	nstest.Eventually(tb, patience, "its last look is some time ago", func() bool { return time.Since(since) > 200*time.Millisecond })
	return g.mu.Unlock
}
