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

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// meteredLoop is a loop with one namespace, of a pod in the Kubernetes namespace given.
func meteredLoop(t *testing.T, podNamespace string) (*loop, *registered) {
	t.Helper()
	l, ns := newTestLoop(t, policy.Destroy)
	l.finder.Name = "sockdiag"
	ns.records[0].Pod.Namespace = podNamespace
	return l, ns
}

func TestWhatCanBeCountedIsThereFromTheStart(t *testing.T) {
	l, _ := meteredLoop(t, "shop")
	m := wholeMetrics(l)
	counts := map[CountKey]uint64{{inetdiag.CloseWait, "shop"}: 0, {inetdiag.FinWait2, "shop"}: 0}
	for name, diff := range map[string]string{
		"destroyed":     cmp.Diff(counts, m.Destroyed),
		"would destroy": cmp.Diff(counts, m.WouldDestroy),
		"errors":        cmp.Diff(map[string]uint64{"EPERM": 0, "EOPNOTSUPP": 0}, m.DestroyErrors),
		"candidates":    cmp.Diff(map[inetdiag.State]int{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0}, m.Candidates),
		"oldest":        cmp.Diff(map[inetdiag.State]time.Duration{inetdiag.CloseWait: 0, inetdiag.FinWait2: 0}, m.Oldest),
		"warnings":      cmp.Diff(slices.Sorted(slices.Values(WarningKinds())), slices.Sorted(maps.Keys(m.Warnings))),
	} {
		if diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, reason := range []policy.Reason{policy.WithinGrace, policy.UnreadData, policy.Exempted, policy.PeerAlive, policy.Unknown} {
		if n, ok := m.Spared[reason]; !ok || n != 0 {
			t.Errorf("spared for %v: %d, %v", reason, n, ok)
		}
	}
	for _, reason := range []policy.Reason{policy.Destroyable, policy.NotRegistered} {
		if _, ok := m.Spared[reason]; ok {
			t.Errorf("%v is a reason to spare a candidate", reason)
		}
	}
}

func TestCandidatesAreCountedByStateWithTheOldest(t *testing.T) {
	l, first := meteredLoop(t, "shop")
	second := newRegistered(2)
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
		{second, inetdiag.CloseWait, 18 * time.Second, 0}, // nobody has accepted it
		{second, inetdiag.FinWait2, 5 * time.Second, 1},
	} {
		look := seenAt(uint64(i+1), seen.age, at)
		look.Socket.State, look.Socket.Inode = seen.state, seen.inode
		l.tracker.seen(seen.ns, look, at)
	}
	m := wholeMetrics(l)
	if diff := cmp.Diff(map[inetdiag.State]int{inetdiag.CloseWait: 2, inetdiag.FinWait2: 1}, m.Candidates); diff != "" {
		t.Errorf("candidates (-want +got)\n%s", diff)
	}
	if oldest := m.Oldest[inetdiag.CloseWait]; oldest < 15*time.Second || oldest >= 18*time.Second {
		t.Errorf("the oldest in CLOSE_WAIT is %v old", oldest)
	}
	if oldest := m.Oldest[inetdiag.FinWait2]; oldest < 5*time.Second || oldest >= 10*time.Second {
		t.Errorf("the oldest in FIN_WAIT2 is %v old", oldest)
	}
}

func TestMistakesInRecordsAreProblemsToo(t *testing.T) {
	l, _ := meteredLoop(t, "")
	l.registry.census = census{
		records:  []state.Record{{Warnings: []string{"one", "two"}}, {}, {Warnings: []string{"three"}}},
		inert:    []inertRecord{{}},
		problems: []state.Problem{{File: "x"}},
	}
	if m := wholeMetrics(l); m.Attachments != 3 || m.Inert != 1 || m.RecordProblems != 3 {
		t.Errorf("%d attachments, %d inert, %d problems", m.Attachments, m.Inert, m.RecordProblems)
	}
}

// TestNamespacesThatComeAndGoDoNotAddUp is a node where each run of a pipeline has a namespace of its own.
func TestNamespacesThatComeAndGoDoNotAddUp(t *testing.T) {
	l, ns := meteredLoop(t, "run-0")
	for i := range 3 * manyCounts {
		name := fmt.Sprintf("run-%d", i)
		ns.records[0].Pod.Namespace = name
		l.tally.destroyed[CountKey{inetdiag.CloseWait, name}] = 2
		m := wholeMetrics(l)
		if len(m.Destroyed) > manyCounts+4 { // those of this run and the last
			t.Fatalf("after %d there are %d series", i, len(m.Destroyed))
		}
		if m.Destroyed[CountKey{inetdiag.CloseWait, name}] != 2 {
			t.Fatalf("that of %s is lost", name)
		}
		if before := fmt.Sprintf("run-%d", i-1); i > 0 && i < manyCounts && m.Destroyed[CountKey{inetdiag.CloseWait, before}] != 2 {
			t.Fatalf("that of %s is lost, though there are few", before)
		}
	}
}

func TestWhatHasBeenReadDoesNotChange(t *testing.T) {
	l, _ := meteredLoop(t, "shop")
	m := wholeMetrics(l)
	l.tally.destroyed[CountKey{inetdiag.CloseWait, "shop"}]++
	l.tally.lateness.observe(time.Second)
	l.counts.Errors["EPERM"]++
	l.warnings.count(WarnSwitch)
	if m.Destroyed[CountKey{inetdiag.CloseWait, "shop"}] != 0 || m.Lateness.Sum != 0 || m.DestroyErrors["EPERM"] != 0 || m.Warnings[WarnSwitch] != 0 {
		t.Errorf("it did: %+v", m)
	}
}

// TestOnlyWhatWasToBeDestroyedIsCountedAsGone has a socket end by itself that a sweep, or a look, found overdue.
func TestOnlyWhatWasToBeDestroyedIsCountedAsGone(t *testing.T) {
	for mode, want := range map[policy.Mode]uint64{policy.Observe: 0, policy.Destroy: 1} {
		t.Run(mode.String(), func(t *testing.T) {
			l, ns := newTestLoop(t, mode)
			see(l, ns.Identity, overdueLook(7))
			j := nextOf(t, l, 1)
			if mode == policy.Observe {
				new(kernel).examine(j)
				l.examined(j, now())
				sweep(l, ns) // it does not show it
				j = nextOf(t, l, 1)
			}
			(&kernel{gone: map[uint64]bool{7: true}}).examine(j)
			l.examined(j, now())
			if l.counts.Gone != want || len(ns.candidates) != 0 {
				t.Errorf("%d are gone, want %d; %d candidates are left", l.counts.Gone, want, len(ns.candidates))
			}
		})
	}
}
