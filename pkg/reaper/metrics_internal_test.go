// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// meteredLoop returns a loop with one network namespace, of a pod in that Kubernetes namespace.
func meteredLoop(t *testing.T, podNamespace string) (*loop, *registered) {
	t.Helper()
	l, ns := newTestLoop(t, policy.Destroy)
	l.finder.Name = "sockdiag"
	ns.records[0].Pod.Namespace = podNamespace
	return l, ns
}

func TestEveryKnownCounterStartsAtZero(t *testing.T) {
	l, _ := meteredLoop(t, "shop")
	m := wholeMetrics(l)
	counts := map[CountKey]uint64{{inetdiag.CloseWait, "shop"}: 0, {inetdiag.FinWait2, "shop"}: 0}
	for name, diff := range map[string]string{
		"destroyed":     cmp.Diff(counts, m.Destroyed),
		"would destroy": cmp.Diff(counts, m.WouldDestroy),
		"errors":        cmp.Diff(map[string]uint64{"EPERM": 0, "EOPNOTSUPP": 0}, m.DestroyErrors),
		"sockets":       cmp.Diff(map[CountKey]int{{inetdiag.CloseWait, "shop"}: 0, {inetdiag.FinWait2, "shop"}: 0}, m.Sockets),
		"oldest":        cmp.Diff(map[inetdiag.State]time.Duration{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0}, m.Oldest),
		"warnings":      cmp.Diff(slices.Sorted(slices.Values(WarningKinds())), slices.Sorted(maps.Keys(m.Warnings))),
	} {
		if diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, reason := range []policy.Reason{policy.WithinGrace, policy.UnreadData, policy.Exempted, policy.PeerAlive, policy.Unknown} {
		if n, ok := m.SparedTotal[reason]; !ok || n != 0 {
			t.Errorf("spared for %v: %d, %v", reason, n, ok)
		}
	}
	for _, reason := range []policy.Reason{policy.Destroyable, policy.NotRegistered} {
		if _, ok := m.SparedTotal[reason]; ok {
			t.Errorf("%v counts as a reason to spare a candidate", reason)
		}
	}
}

func TestSocketsAreCountedByNamespaceAndStateWithTheOldest(t *testing.T) {
	l, first := meteredLoop(t, "shop")
	second := newRegistered(2)
	second.records[0].Pod.Namespace = "bank"
	l.registry.namespaces[second.Identity] = second
	at := now()
	for i, seen := range []struct {
		ns    *registered
		state inetdiag.State
		age   time.Duration
		inode uint32
	}{
		{first, inetdiag.CloseWait, 10 * time.Second, 1},
		{second, inetdiag.CloseWait, 15 * time.Second, 1},
		{second, inetdiag.CloseWait, 18 * time.Second, 0}, // not accepted: it has no owner
		{second, inetdiag.FinWait2, 5 * time.Second, 1},
	} {
		look := seenAt(uint64(i+1), seen.age, at)
		look.Socket.State, look.Socket.Inode = seen.state, seen.inode
		l.tracker.seen(seen.ns, look, at)
	}
	m := wholeMetrics(l)
	want := map[CountKey]int{
		{inetdiag.CloseWait, "shop"}: 1, {inetdiag.FinWait2, "shop"}: 0, {inetdiag.CloseWait, "bank"}: 1, {inetdiag.FinWait2, "bank"}: 1,
	}
	if diff := cmp.Diff(want, m.Sockets); diff != "" {
		t.Errorf("sockets (-want +got)\n%s", diff)
	}
	if oldest := m.Oldest[inetdiag.CloseWait]; oldest < 15*time.Second || oldest >= 18*time.Second {
		t.Errorf("the oldest in CLOSE_WAIT is %v old", oldest)
	}
	if oldest := m.Oldest[inetdiag.FinWait2]; oldest < 5*time.Second || oldest >= 10*time.Second {
		t.Errorf("the oldest in FIN_WAIT2 is %v old", oldest)
	}
}

// TestCountersOfFormerNamespacesAreBounded is a node where each pipeline run has a namespace of its own.
func TestCountersOfFormerNamespacesAreBounded(t *testing.T) {
	l, ns := meteredLoop(t, "run-0")
	for i := range 3 * maxFormerNamespaces {
		name := fmt.Sprintf("run-%d", i)
		ns.records[0].Pod.Namespace = name
		l.tally.destroyed[CountKey{inetdiag.CloseWait, name}] = 2
		m := wholeMetrics(l)
		if len(m.Destroyed) > maxFormerNamespaces+4 { // of this run and of the one before
			t.Fatalf("after %d there are %d series", i, len(m.Destroyed))
		}
		if m.Destroyed[CountKey{inetdiag.CloseWait, name}] != 2 {
			t.Fatalf("the counter of %s is lost", name)
		}
		if before := fmt.Sprintf("run-%d", i-1); i > 0 && i < maxFormerNamespaces && m.Destroyed[CountKey{inetdiag.CloseWait, before}] != 2 {
			t.Fatalf("the counter of %s is lost, although there are few", before)
		}
	}
}

func TestASnapshotDoesNotChange(t *testing.T) {
	l, _ := meteredLoop(t, "shop")
	m := wholeMetrics(l)
	l.tally.destroyed[CountKey{inetdiag.CloseWait, "shop"}]++
	l.counts.Errors["EPERM"]++
	l.warnings.count(WarnSwitch)
	if m.Destroyed[CountKey{inetdiag.CloseWait, "shop"}] != 0 || m.DestroyErrors["EPERM"] != 0 || m.Warnings[WarnSwitch] != 0 {
		t.Errorf("it has changed: %+v", m)
	}
}

// TestOnlyADueSocketIsCountedAsGone closes an overdue socket between the decision to destroy it and the destroy.
func TestOnlyADueSocketIsCountedAsGone(t *testing.T) {
	for mode, want := range map[policy.Mode]uint64{policy.Observe: 0, policy.Destroy: 1} {
		t.Run(mode.String(), func(t *testing.T) {
			l, ns := newTestLoop(t, mode)
			see(l, ns.Identity, overdueLook(7))
			j := nextOf(t, l, 1)
			if mode == policy.Observe {
				new(kernel).examine(j)
				l.examined(j, now())
				sweep(l, ns) // which does not show it
				j = nextOf(t, l, 1)
			}
			(&kernel{gone: map[uint64]bool{7: true}}).examine(j)
			l.examined(j, now())
			if l.counts.Gone != want || len(ns.candidates) != 0 {
				t.Errorf("%d counted as gone, want %d; %d candidates are left", l.counts.Gone, want, len(ns.candidates))
			}
		})
	}
}

// histogramsOf returns the loop's histograms, by name and labels.
func histogramsOf(t *testing.T, l *loop) map[string]*dto.Histogram {
	t.Helper()
	return gather(t, l.histograms)
}

// gather returns the histograms of a collector, by name and labels.
func gather(t *testing.T, c prometheus.Collector) map[string]*dto.Histogram {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*dto.Histogram)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			all[name] = m.GetHistogram()
		}
	}
	return all
}

// TestAFallbackMovesNoCountToAnotherFindersHistogram sweeps with bpf, which also has sock_diag sweep one network
// namespace, then falls back to sockdiag, and recovers.
func TestAFallbackMovesNoCountToAnotherFindersHistogram(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	sweeps := func(name string, d time.Duration) {
		l.countSweep(&finder.Sweep{Finder: name, Netns: []netns.Identity{ns.Identity}, Duration: d})
	}
	const ofBPF, ofSockDiag = "halfclose_sweep_duration_seconds finder=bpf", "halfclose_sweep_duration_seconds finder=sockdiag"
	l.setFinderState(finder.State{Name: finder.NameBPF})
	sweeps(finder.NameBPF, 20*time.Millisecond)
	sweeps(finder.NameBPF, 30*time.Millisecond)
	sweeps(finder.NameSockDiag, time.Millisecond)
	before := histogramsOf(t, l)
	if b, s := before[ofBPF], before[ofSockDiag]; b.GetSampleCount() != 2 || s.GetSampleCount() != 1 {
		t.Fatalf("%d walks and %d sweeps are observed", b.GetSampleCount(), s.GetSampleCount())
	}

	l.setFinderState(finder.State{Name: finder.NameSockDiag, Why: "the set is full"})
	sameAsBefore := func(names ...string) {
		t.Helper()
		now := histogramsOf(t, l)
		for _, name := range names {
			if before[name].String() != now[name].String() {
				t.Errorf("%s\nbefore %v\nnow    %v", name, before[name], now[name])
			}
		}
	}
	sameAsBefore(ofBPF, ofSockDiag)
	sweeps(finder.NameSockDiag, 2*time.Millisecond)
	sameAsBefore(ofBPF)
	before = histogramsOf(t, l)
	if s := before[ofSockDiag]; s.GetSampleCount() != 2 || s.GetSampleSum() != .003 {
		t.Errorf("after a sweep of sockdiag its histogram has %v", s)
	}

	l.setFinderState(finder.State{Name: finder.NameBPF})
	sameAsBefore(ofBPF, ofSockDiag)
	sweeps(finder.NameBPF, 40*time.Millisecond)
	sameAsBefore(ofSockDiag)
}

func TestTheTimeThatASocketWasHalfClosedIsObservedByHowItEnded(t *testing.T) {
	key := func(state, end string) string { return "halfclose_half_closed_seconds end=" + end + " state=" + state }
	counts := func(l *loop) map[string]uint64 {
		all := make(map[string]uint64)
		for name, h := range histogramsOf(t, l) {
			if h.GetSampleCount() > 0 {
				all[name] = h.GetSampleCount()
			}
		}
		return all
	}
	observe := func(event event, change func(*candidate)) map[string]uint64 {
		l, ns := newTestLoop(t, policy.Destroy)
		see(l, ns.Identity, overdueLook(7))
		c := ns.candidates[7]
		if change != nil {
			change(c)
		}
		l.histograms.observeEnd(c, event, c.history.Since.Add(20*time.Second))
		return counts(l)
	}
	for name, tt := range map[string]struct {
		event  event
		change func(*candidate)
		want   map[string]uint64
	}{
		"destroyed":            {eventDestroyed, nil, map[string]uint64{key("CLOSE_WAIT", "destroyed"): 1}},
		"its peer is gone":     {eventPeerGone, nil, map[string]uint64{key("CLOSE_WAIT", "peer-gone"): 1}},
		"closed while asked":   {eventClosed, nil, map[string]uint64{key("CLOSE_WAIT", "closed"): 1}},
		"closed":               {eventGone, nil, map[string]uint64{key("CLOSE_WAIT", "closed"): 1}},
		"closed in FIN_WAIT2":  {eventGone, func(c *candidate) { c.history.State = inetdiag.FinWait2 }, map[string]uint64{key("FIN_WAIT2", "closed"): 1}},
		"its netns is gone":    {eventForgotten, nil, map[string]uint64{}},
		"without an owner":     {eventGone, func(c *candidate) { c.history.Owned = false }, map[string]uint64{}},
		"from the saved state": {eventGone, func(c *candidate) { c.verdict.reason, c.shown.hasInfo = policy.Unknown, false }, map[string]uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, observe(tt.event, tt.change)); diff != "" {
				t.Errorf("observations (-want +got)\n%s", diff)
			}
		})
	}

	// A candidate that a look shows to be closed, and one whose owner has closed it while the kernel keeps it.
	l, ns := newTestLoop(t, policy.Destroy)
	at := now()
	gone, orphan := seenAt(7, 10*time.Second, at), seenAt(8, 10*time.Second, at)
	orphan.Socket.State = inetdiag.FinWait2
	l.tracker.seen(ns, gone, at)
	l.tracker.seen(ns, orphan, at)
	l.tracker.handle(ns.candidates[7], eventTimeCame, at)
	l.tracker.handle(ns.candidates[7], eventTaken, at)
	l.tracker.handle(ns.candidates[7], eventGone, at)
	orphan.Socket.Inode, orphan.At = 0, at.Add(time.Second)
	l.tracker.seen(ns, orphan, orphan.At)
	orphan.At = at.Add(2 * time.Second)
	l.tracker.seen(ns, orphan, orphan.At)
	want := map[string]uint64{key("CLOSE_WAIT", "closed"): 1, key("FIN_WAIT2", "closed"): 1}
	if diff := cmp.Diff(want, counts(l)); diff != "" {
		t.Errorf("observations (-want +got)\n%s", diff)
	}
}
