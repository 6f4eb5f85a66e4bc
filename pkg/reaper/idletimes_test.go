// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// sampledNode is a node whose reaper keeps idle times in a directory, and looks at every socket often by the kernel's clock.
func sampledNode(t *testing.T, name string) (n *node, dir string) {
	t.Helper()
	n, dir = offNode(t), filepath.Join(t.TempDir(), "idle")
	n.leastWalk = 10 * time.Millisecond
	n.start(name, func(c *reaper.Config) {
		c.IdleDir, c.Sample = dir, 5*time.Second
		c.Finder = finder.Wrapped{Finder: c.Finder, Target: func(t *finder.Netns) { t.Interval = 10 * time.Millisecond }}
	})
	return n, dir
}

// sampleEvery lets time pass until end, with a look at every socket each distance. The connections moving carry a byte each
// period.
func (n *node) sampleEvery(distance, period, end time.Duration, moving []*net.TCPConn) {
	n.tb.Helper()
	start := n.clock.Now()
	goTo := func(at monotime.Time) { // the looks themselves take time
		if left := at.Sub(n.clock.Now()); left > 0 {
			n.leap(left)
		}
	}
	sentAt := period
	for at := distance; at <= end; at += distance {
		for ; sentAt <= at; sentAt += period {
			goTo(start.Add(sentAt))
			for _, c := range moving {
				if err := sent(c); err != nil {
					n.tb.Fatal(err)
				}
			}
		}
		goTo(start.Add(at))
		n.awaitSweeps(2)
	}
}

// stored returns the data that the reaper has written at its end.
func (n *node) stored(dir string) *simulate.Data {
	n.tb.Helper()
	if err := n.stop(); err != nil {
		n.tb.Fatal(err)
	}
	later := time.Now().Add(time.Hour) // the node's clock has leapt, perhaps into the next hour
	hours, problems, err := simulate.NewStore(dir).Since(time.Time{}, later)
	if err != nil || len(problems) > 0 {
		n.tb.Fatal(err, problems)
	}
	return simulate.NewData(hours)
}

// halfClose creates connections whose servers are in CLOSE_WAIT.
func halfClose(tb testing.TB, ns *nstest.NS, count int) (servers []*net.TCPConn) {
	tb.Helper()
	for range count {
		servers = append(servers, shut(tb, ns.Connect(tb, nstest.IPv4)).Server)
	}
	return servers
}

func TestSimulationSeparatesLeaksFromSocketsInUse(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		n, dir := sampledNode(t, finder)
		ns := newNS(t)
		n.register(ns, timing(inetdiag.CloseWait, time.Hour, observe))
		servers := halfClose(t, ns, 300)
		n.awaitKnown(servers[299])
		n.sampleEvery(5*time.Second, 90*time.Second, 240*time.Second, servers[:10])
		d := n.stored(dir)
		q := simulate.Query{Grace: time.Minute, ProbeAfter: policy.Patience(30 * time.Second), State: inetdiag.CloseWait}
		if l := d.Limits(&q); l.TooShort(q.Grace) || l.TooLong(q.Grace) {
			t.Fatalf("a minute cannot be estimated: %+v", l)
		}
		all := simulate.Range{Least: 300, Most: 300}
		if o := d.Estimate(&q).Total; o.Sockets != 300 || o.Destroyed != all || o.Wrong != (simulate.Range{Least: 10, Most: 10}) || o.Asked != all {
			t.Errorf("a minute: %+v", o)
		}
		if s := d.Suggest(q); s.Grace < 90*time.Second || s.Grace > 3*time.Minute {
			t.Errorf("suggested are %v, from %+v", s.Grace, s.Tried)
		}
	})
}

func TestSparseLooksCannotEstimateAShortGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		n, dir := sampledNode(t, finder)
		ns := newNS(t)
		n.register(ns, timing(inetdiag.CloseWait, time.Hour, observe))
		servers := halfClose(t, ns, 30)
		n.awaitKnown(servers[29])
		n.sampleEvery(time.Minute, 90*time.Second, 6*time.Minute, servers[:1])
		d := n.stored(dir)
		q := simulate.Query{Grace: time.Minute, ProbeAfter: policy.Never, State: inetdiag.CloseWait}
		if l := d.Limits(&q); !l.TooShort(q.Grace) || l.Distance < 50*time.Second {
			t.Errorf("a minute can be estimated: %+v", l)
		}
		if s := d.Suggest(q); s.Grace != 0 && s.Grace < 2*time.Minute-10*time.Second {
			t.Errorf("suggested are %v, from %+v", s.Grace, s.Tried)
		}
	})
}
