// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestSweepLagIgnoresNamespacesThatAreNotSwept(t *testing.T) {
	const late = 2 * time.Minute // more than any interval
	for name, tc := range map[string]struct {
		late   time.Duration
		change func(*policy.Policy)
		want   time.Duration
	}{
		"in time":                      {late: time.Millisecond, change: func(*policy.Policy) {}},
		"late":                         {late: late, change: func(*policy.Policy) {}, want: late},
		"in time, and then turned off": {late: time.Millisecond, change: func(p *policy.Policy) { p.Mode = policy.Off }},
		"late, and then never to be": {late: late, change: func(p *policy.Policy) {
			p.CloseWaitGrace, p.FinWait2Grace = policy.Never, policy.Never
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			r := recordOf(1, "eth0")
			r.Netns.Identity, r.Layers = ns.Identity, LayersOf(ns.policies[0])
			l.applyCensus(censusOf(l.registry, r))
			l.swept(&finder.Sweep{Began: now(), Late: tc.late}, []netns.Identity{ns.Identity})
			p := ns.policies[0]
			tc.change(&p)
			r.Layers = LayersOf(p)
			l.applyCensus(censusOf(l.registry, r))
			l.checkSweepLag(now())
			if l.sweeping.lag != tc.want || l.sweeping.warned != (tc.want > 0) {
				t.Errorf("it lags by %v, and that was said: %v; want %v", l.sweeping.lag, l.sweeping.warned, tc.want)
			}
		})
	}
}

// TestSweepOfManyCandidatesIsSplitForTheLoop has more candidates than the loop processes without a break.
func TestSweepOfManyCandidatesIsSplitForTheLoop(t *testing.T) {
	l, first := newTestLoop(t, policy.Destroy)
	second := newRegistered(2)
	l.registry.namespaces[second.Identity] = second
	var sockets []finder.Seen
	for cookie := range uint64(maxLoopCandidates) {
		sockets = append(sockets, *seenAt(cookie+1, time.Second, now()))
	}
	see(l, first.Identity, sockets...)
	see(l, second.Identity, *seenAt(1, time.Second, now()))
	sweep := finder.Sweep{Netns: []netns.Identity{{Inode: 99}, first.Identity, second.Identity}, Began: now().Add(time.Second)}
	left := l.swept(&sweep, sweep.Netns)
	if len(left) != 1 || left[0] != second.Identity || first.lastSweep != sweep.Began || !second.lastSweep.IsZero() {
		t.Fatalf("left are %v", left)
	}
	if left = l.swept(&sweep, left); len(left) != 0 || second.lastSweep != sweep.Began || l.tracker.examineQ.Len() != maxLoopCandidates+1 {
		t.Errorf("left are %v, and %d candidates are queued", left, l.tracker.examineQ.Len())
	}
}

func TestSweepIsCountedOnceUnlessAllItsNamespacesAreUnregistered(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	l.countSweep(&finder.Sweep{Netns: []netns.Identity{{Inode: 99}}, Duration: time.Second})
	if l.sweeping.sweeps != 0 {
		t.Error("a sweep of an unregistered namespace is counted")
	}
	l.countSweep(&finder.Sweep{Finder: finder.NameBPF, Netns: []netns.Identity{{Inode: 99}, ns.Identity, ns.Identity}, Duration: time.Second})
	if h := histogramsOf(t, l)[`halfclose_sweep_duration_seconds finder=bpf`]; l.sweeping.sweeps != 1 || h.GetSampleCount() != 1 || h.GetSampleSum() != 1 {
		t.Errorf("%d sweeps are counted, the histogram has %v", l.sweeping.sweeps, h)
	}
}

func TestCompleteSweepClearsTheProblemOfItsNamespaceOnly(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	other, failure := newRegistered(2), fs.ErrPermission
	l.registry.namespaces[other.Identity] = other
	problems := func() (list []string) {
		var s api.ReaperStatus
		for _, ns := range []*registered{ns, other} {
			addNamespace(&s, l, ns, now())
		}
		for _, a := range s.Attachments {
			list = append(list, a.Problem)
		}
		return list
	}
	l.failed(ns.Identity, failure)
	if got := problems(); !slices.Equal(got, []string{failure.Error(), ""}) {
		t.Errorf("after the failure the problems are %q", got)
	}
	l.failed(other.Identity, failure)
	l.swept(&finder.Sweep{Began: now()}, []netns.Identity{ns.Identity})
	if got := problems(); !slices.Equal(got, []string{"", failure.Error()}) {
		t.Errorf("after the sweep the problems are %q", got)
	}
}

func TestFailedSweepDropsCandidatesOnlyOfADeletedNamespace(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		left int
	}{
		"gone":       {fmt.Errorf("open: %w", netns.ErrMismatch), 0},
		"unreadable": {fmt.Errorf("open: %w", fs.ErrPermission), 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			see(l, ns.Identity, *seenAt(1, time.Second, now()))
			l.failed(ns.Identity, tc.err)
			if len(ns.candidates) != tc.left || ns.problem != tc.err.Error() {
				t.Errorf("%d candidates are left, want %d; the problem is %q", len(ns.candidates), tc.left, ns.problem)
			}
		})
	}
}
