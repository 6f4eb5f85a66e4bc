// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestLatenessCountsFromTheHalfCloseWithoutExcusedTime(t *testing.T) {
	const s = time.Second
	interval := testGrace / 4 // of the finder
	for name, tc := range map[string]struct {
		registered time.Duration // all times are after the half-close
		first      time.Duration // look
		progress   time.Duration
		clock      policy.Clock
		excused    time.Duration
		at         time.Duration // of the destroy
		late, more time.Duration
		by         []string
	}{
		"in time":                             {registered: -10 * s, at: testGrace},
		"the examiner was late":               {registered: -10 * s, at: testGrace + 3*s, late: 3 * s},
		"found by a sweep in time":            {registered: -10 * s, first: 4 * s, at: testGrace + 4*s, more: 4 * s, by: []string{"found-late"}},
		"found by a sweep that was held up":   {registered: -10 * s, first: 25 * s, at: testGrace + 25*s, late: 20 * s, more: interval, by: []string{"found-late"}},
		"registered later":                    {registered: 30 * s, first: 32 * s, at: testGrace + 33*s, late: s, more: 32 * s, by: []string{"registered-later", "found-late"}},
		"no reaper ran":                       {registered: 60 * s, first: 2 * s, at: 61 * s, late: s, more: 61*s - testGrace - s, by: []string{"registered-later", "found-late"}},
		"bytes moved after it was found late": {registered: -10 * s, first: 25 * s, progress: 30 * s, at: testGrace + 31*s, late: s},
		"bytes moved, by the other clock":     {registered: -10 * s, progress: 15 * s, clock: policy.ClockState, at: testGrace + 2*s, late: 2 * s},
		"it waited for the budget":            {registered: -10 * s, excused: testGrace + 6*s, at: testGrace + 7*s, late: s, more: 6 * s, by: []string{"budget"}},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newRegistered(1)
			ns.Interval, ns.registeredAt, ns.policies[0].Clock = interval, moment(tc.registered), tc.clock
			sock := closeWait(7, 0)
			h := policy.Follow(nil, policy.Look{At: moment(0), Socket: &sock, Entered: moment(0)})
			h.Start = moment(tc.first)
			if tc.progress > 0 {
				h.Progress = moment(tc.progress)
			}
			c := &candidate{ns: ns, history: h}
			if tc.excused > 0 {
				c.excused, c.verdict.excuses = moment(tc.excused), excuseBudget
			}
			v := ns.judge(&h, &sock, policy.Facts{OwnersKnown: true}, moment(tc.at))
			got := latenessOf(c, &h, &v, moment(tc.at))
			if v.Reason != policy.Destroyable || got.late != tc.late || got.excused != tc.more || !slices.Equal(got.by.names(), tc.by) {
				t.Errorf("%v: %v late, %v excused by %v; want %v, %v, %v", v.Reason, got.late, got.excused, got.by.names(), tc.late, tc.more, tc.by)
			}
		})
	}
}

func TestHistoryReportsExcusedLateness(t *testing.T) {
	for name, tc := range map[string]struct {
		run func(t *testing.T, l *loop, ns, other *registered, k *kernel)
		by  string
	}{
		"it waited for the budget": {by: "budget", run: func(_ *testing.T, l *loop, ns, _ *registered, k *kernel) {
			l.budget = newBudget(1)
			see(l, ns.Identity, idleLook(7, 0))
			time.Sleep(testGrace)
			for range 3 {
				l.budget.spend(l.clock.Wall(), 1)
			}
			pass(l, k, 10*time.Second)
		}},
		"its owners were looked up": {by: "owners", run: func(_ *testing.T, l *loop, ns, _ *registered, k *kernel) {
			l.tracker.findsOwners = true
			see(l, ns.Identity, idleLook(7, 0))
			time.Sleep(testGrace)
			runUntilQuiet(l, k)
			c := ns.candidates[7]
			time.Sleep(5 * time.Second)
			c.owners = newOwnerSet(&ownerLookup{}, nil, true, now(), time.Minute)
			l.tracker.handle(c, eventOwnersLookedUp, now())
			l.tracker.reconsider(c, now())
			runUntilQuiet(l, k)
		}},
		"the other end spared it": {by: "spared", run: func(_ *testing.T, l *loop, ns, other *registered, k *kernel) {
			other.policies[0].FinWait2Grace = policy.Never
			k.sockets[peerCookie(7)] = peerOf(7, 0)
			see(l, ns.Identity, idleLook(7, 0))
			see(l, other.Identity, peerLook(7, 0))
			pass(l, k, testGrace+5*time.Second)
			other.policies = newRegistered(2).policies
			other.policies[0].FinWait2Grace = policy.Patience(time.Hour)
			l.tracker.rejudge(other, now())
			runUntilQuiet(l, k)
		}},
		"a rule left it alone": {by: "spared", run: func(_ *testing.T, l *loop, ns, _ *registered, k *kernel) {
			leaveAlone(ns, 1)
			see(l, ns.Identity, idleLook(7, 0))
			pass(l, k, testGrace+5*time.Second)
			see(l, ns.Identity, idleLook(8, testGrace))
			pass(l, k, 2*time.Second)
		}},
		"the mode forbade it": {by: "policy", run: func(_ *testing.T, l *loop, ns, _ *registered, k *kernel) {
			ns.limit = policy.Observe
			see(l, ns.Identity, idleLook(7, 0))
			pass(l, k, testGrace+5*time.Second)
			ns.limit = policy.Destroy
			l.tracker.rejudge(ns, now())
			runUntilQuiet(l, k)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, other, k := newEndsLoop(t)
				tc.run(t, l, ns, other, k)
				for _, e := range l.history.after(0) {
					if e.Outcome != api.Destroyed || e.Cookie != 7 {
						continue
					}
					if e.Late > api.Seconds(time.Second) || e.Excused < api.Seconds(2*time.Second) || !slices.Equal(e.ExcusedBy, []string{tc.by}) {
						t.Errorf("%v late, %v excused by %v", time.Duration(e.Late), time.Duration(e.Excused), e.ExcusedBy)
					}
					if got := histogramsOf(t, l)["halfclose_destroy_lateness_seconds"].GetSampleSum(); got != time.Duration(e.Late).Seconds() {
						t.Errorf("the histogram has %v s", got)
					}
					return
				}
				t.Errorf("it was not destroyed: %v", ns.candidates[7].verdict)
			})
		})
	}
}

func TestLatenessCountsWhileDestroysAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Destroy)
		see(l, ns.Identity, idleLook(7, 0))
		closed := examiner{clock: l.clock, open: func(finder.Netns) (conn, error) { return nil, unix.EPERM }}
		const held = 5 * time.Minute
		for range int((testGrace + held) / time.Second) {
			time.Sleep(time.Second)
			if j := l.nextJob(now(), l.clock.Wall()); j != nil {
				closed.examine(j)
				l.examined(j, now())
			}
		}
		if s := wholeStatus(l); s.Ages.CloseWait.Overdue[2] != 1 { // five minutes and more
			t.Errorf("the ages are %+v", s.Ages)
		}
		pass(l, new(kernel), retryAfter)
		e := l.history.after(0)
		if len(e) != 1 || e[0].State != inetdiag.CloseWait || time.Duration(e[0].Late) < held || e[0].Excused != 0 {
			t.Errorf("the history has %+v", e)
		}
	})
}
