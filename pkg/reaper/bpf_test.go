// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// awaitFinder waits until the named finder is in use.
func (n *node) awaitFinder(name string) (why string) {
	n.tb.Helper()
	nstest.Eventually(n.tb, 4*patience, "the finder is "+name, func() bool { // it tries again later each time
		f := n.status().Finder
		why = f.Why
		return f.Name == name
	})
	return why
}

// awaitCrowded waits until exactly the network namespaces of these records are swept on their own.
func (n *node) awaitCrowded(records ...state.Record) {
	n.tb.Helper()
	var want []string
	for _, r := range records {
		want = append(want, r.Netns.Path)
	}
	slices.Sort(want)
	nstest.Eventually(n.tb, 4*patience, fmt.Sprintf("the status has %q as crowded", want), func() bool {
		var got []string
		for _, c := range n.status().Finder.Crowded {
			got = append(got, c.Netns)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

// halfClosed half-closes a number of connections in the namespace, until the end of the test.
func halfClosed(tb testing.TB, ns *nstest.NS, n int) (pairs []nstest.Pair) {
	tb.Helper()
	for range n {
		pairs = append(pairs, shut(tb, ns.Connect(tb, nstest.IPv4)))
	}
	return pairs
}

func TestMissedEventsAreFoundAndCounted(t *testing.T) {
	t.Parallel()
	const missed = 20
	ns := newNS(t)
	n, a := newAilingNode(t, testSockets)
	n.register(ns, both(time.Hour))
	heard := halfClosed(t, ns, 3)
	n.awaitEqual(ns)
	before := n.status().Finder.Missed
	a.deaf.Store(true)
	halfClosed(t, ns, missed)
	for _, p := range heard {
		p.Client.Close()
		p.Server.Close()
	}
	n.awaitEqual(ns)
	nstest.Eventually(t, patience, "what was missed is counted", func() bool { return n.status().Finder.Missed >= before+2*missed })
	a.deaf.Store(false)
	halfClosed(t, ns, 5)
	n.awaitEqual(ns)
	if got := n.status().Finder.Name; got != finder.NameBPF {
		t.Errorf("the finder is %s", got)
	}
}

func TestOnlyTheNetnsWhoseSocketsDoNotFitIsSweptBySockDiag(t *testing.T) {
	t.Parallel()
	const few, many = 3, 50
	crowded, other := newNS(t), newNS(t)
	n, _ := newAilingNode(t, 32)
	record := n.register(crowded, both(time.Hour))
	n.register(other, both(time.Hour))
	halfClosed(t, other, few)
	pairs := halfClosed(t, crowded, many)
	n.awaitCrowded(record)
	f := n.status().Finder
	if f.Name != finder.NameBPF || !strings.Contains(f.Why, "--bpf-sockets") {
		t.Errorf("the finder is %s: %q", f.Name, f.Why)
	}
	n.awaitEqual(crowded, other)
	nstest.Eventually(t, patience, "the set has the other's sockets alone", func() bool { return n.status().Finder.Known == 2*few })
	entered := halfClosed(t, other, 1)[0]
	n.awaitEqual(crowded, other)
	if m, err := n.Metrics(t.Context()); err != nil || m.Crowded != 1 || m.Warnings[reaper.WarnCrowded] == 0 || m.Warnings[reaper.WarnFinder] != 0 {
		t.Errorf("the metrics say %d, and %d and %d warnings: %v", m.Crowded, m.Warnings[reaper.WarnCrowded], m.Warnings[reaper.WarnFinder], err)
	}
	for _, p := range append(pairs[5:], entered) {
		p.Client.Close()
		p.Server.Close()
	}
	n.awaitCrowded()
	n.awaitEqual(crowded, other)
	nstest.Eventually(t, patience, "the set has the sockets of both", func() bool { return n.status().Finder.Known == 2*few+2*5 })
	halfClosed(t, crowded, 5)
	n.awaitEqual(crowded, other)
	if f := n.status().Finder; f.Name != finder.NameBPF || f.Why != "" {
		t.Errorf("the finder is %s: %q", f.Name, f.Why)
	}
}

func TestFinderFallsBackUntilItsProgramsLoad(t *testing.T) {
	t.Parallel()
	ns := newNS(t)
	n, a := newAilingNode(t, testSockets)
	n.register(ns, both(time.Hour))
	known := halfClosed(t, ns, 3)
	n.awaitEqual(ns)
	since, _ := n.since(cookieOf(t, known[0].Server))
	a.broken.Store(true)
	if why := n.awaitFinder(finder.NameSockDiag); !strings.Contains(why, errBroken.Error()) {
		t.Errorf("it does not say why: %s", why)
	}
	walks := n.sweeps(finder.NameBPF)
	halfClosed(t, ns, 3)
	n.awaitEqual(ns)
	if now := n.sweeps(finder.NameBPF); walks.GetSampleCount() == 0 || now.String() != walks.String() {
		t.Errorf("while sockdiag sweeps, the histogram of bpf changes from %v to %v", walks, now)
	}
	if n.sweeps(finder.NameSockDiag).GetSampleCount() == 0 {
		t.Error("the histogram of sockdiag has no sweep")
	}
	if m, err := n.Metrics(t.Context()); err != nil || m.Finder != finder.NameSockDiag || m.Warnings[reaper.WarnFinder] != 1 {
		t.Errorf("the metrics say %s, and %d warnings: %v", m.Finder, m.Warnings[reaper.WarnFinder], err)
	}
	a.broken.Store(false)
	n.awaitFinder(finder.NameBPF)
	halfClosed(t, ns, 3)
	n.awaitEqual(ns)
	if now, ok := n.since(cookieOf(t, known[0].Server)); !ok || !now.couldBe(since) {
		t.Errorf("half-closed since %v, %v before", now, since)
	}
	if a.loads.Load() < 2 {
		t.Error("they were not loaded again")
	}
}

func TestFinderFallsBackAfterAnAuditFindsASocketThatTheProgramsMissed(t *testing.T) {
	t.Parallel()
	ns := newNS(t)
	n, a := newAilingNode(t, testSockets)
	n.register(ns, both(time.Hour))
	p := ns.Connect(t, nstest.IPv4)
	a.unseen.Store(cookieOf(t, p.Server))
	shut(t, p)
	if why := n.awaitFinder(finder.NameSockDiag); !strings.Contains(why, me(t).Command+"[") || !strings.Contains(why, p.Server.LocalAddr().String()) {
		t.Errorf("it does not say which socket, and whose: %s", why)
	}
	n.awaitEqual(ns)
}

func TestStaleEntryOfTheSetIsRemoved(t *testing.T) {
	t.Parallel()
	ns := newNS(t)
	n, a := newAilingNode(t, testSockets)
	r := n.register(ns, both(time.Hour))
	p := halfClosed(t, ns, 1)[0]
	n.awaitEqual(ns)
	s := kernelSockets(t, ns)[cookieOf(t, p.Server)]
	p.Client.Close()
	p.Server.Close()
	n.awaitEqual(ns)
	a.like = bpf.Socket{Socket: s, Netns: r.Netns.Cookie, At: nstest.Clock(t).Now(), Entered: nstest.Clock(t).Now()}
	a.ghost.Store(s.ID.Cookie())
	nstest.Eventually(t, patience, "the set is without it", func() bool { return a.ghost.Load() == 0 })
	n.awaitEqual(ns)
	if f := n.status().Finder; f.Name != finder.NameBPF {
		t.Errorf("the finder is %s: %s", f.Name, f.Why)
	}
}

// TestSocketInFlightIsDestroyed has a socket in a message that no process has received, so no process owns it.
func TestSocketInFlightIsDestroyed(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		p := ns.Connect(t, nstest.IPv4)
		local, peer := addrs(p.Server)
		inFlight(t, p.Server)
		shut(t, p)
		n := newNode(t, finder)
		n.register(ns, timing(inetdiag.CloseWait, soon))
		nstest.Eventually(t, patience, "it is destroyed", func() bool {
			for _, e := range n.history() {
				if e.Local.String() == local && e.Peer.String() == peer && e.Outcome == api.Destroyed {
					return true
				}
			}
			return false
		})
		if got := n.status().Finder.Name; got != finder {
			t.Errorf("the finder is %s", got)
		}
	})
}

// inFlight sends a connection's socket over a unix socket that no process reads before the end of the test, and closes
// its own descriptor.
func inFlight(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pair[0], []byte{1}, unix.UnixRights(int(file.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	file.Close()
	conn.Close()
}

// TestBPFRecordsWhenASocketBecomesHalfClosed half-closes connections with keepalive, which hides their ages from
// sock_diag. The kernel does not report every half-close.
func TestBPFRecordsWhenASocketBecomesHalfClosed(t *testing.T) {
	t.Parallel()
	ns := newNS(t)
	n := newNode(t, finder.NameBPF, often)
	n.register(ns, both(100*time.Hour))
	nstest.Eventually(t, patience, "the namespace is watched", func() bool { return n.status().Finder.Sweeps > 0 })
	moments := make(map[uint64]span) // by cookie
	var last *net.TCPConn
	for range 20 {
		p := ns.Connect(t, nstest.IPv4)
		before := n.now()
		shut(t, p)
		moments[cookieOf(t, p.Server)], last = span{before, n.now()}, p.Server
	}
	cookie := cookieOf(t, last)
	n.unprovable(ns, last)
	for range 2 { // the second time some are known already
		n.awaitAge(cookie, unproven)
		known, exact := n.allSince(), 0
		for cookie, moment := range moments {
			if since, ok := known[cookie]; ok && since.couldBe(moment) {
				exact++
			}
		}
		if exact < len(moments)/2 {
			t.Errorf("of %d sockets the moment is known of %d", len(moments), exact)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start(finder.NameBPF, often)
		n.awaitConfirmed(cookie)
	}
}

// sweeps returns the histogram of a finder's sweeps.
func (n *node) sweeps(name string) *dto.Histogram {
	n.tb.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(n.Histograms()); err != nil {
		n.tb.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		n.tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "halfclose_sweep_duration_seconds" && m.GetLabel()[0].GetValue() == name {
				return m.GetHistogram()
			}
		}
	}
	return nil
}
