// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// peerCookie returns the cookie of the other end of the connection of closeWait(cookie).
func peerCookie(cookie uint64) uint64 { return cookie + 1<<20 }

// peerOf returns that other end, in FIN_WAIT2.
func peerOf(cookie uint64, age time.Duration) inetdiag.Socket {
	s := closeWait(cookie, age)
	s.ID = inetdiag.NewID(unix.AF_INET, s.ID.Peer(), s.ID.Local(), 0, peerCookie(cookie))
	s.State = inetdiag.FinWait2
	s.Info.BytesAcked, s.Info.BytesReceived = 102, 51
	return s
}

// peerLook is a finder's look at that other end.
func peerLook(cookie uint64, idle time.Duration) finder.Seen {
	at := now()
	return finder.Seen{Socket: peerOf(cookie, idle), At: at, Entered: max(at.Add(-idle), 1)}
}

// newEndsLoop is a loop with two network namespaces.
func newEndsLoop(t *testing.T) (l *loop, ns, other *registered, k *kernel) {
	t.Helper()
	l, ns = newTestLoop(t, policy.Destroy)
	other = newRegistered(2)
	l.registry.namespaces[other.Identity] = other
	other.limit = l.caps.limit(other)
	return l, ns, other, &kernel{sockets: make(map[uint64]inetdiag.Socket)}
}

func TestStandingReasonSparesTheOtherEnd(t *testing.T) {
	const kept, goes = true, false
	for name, tc := range map[string]struct {
		policy  func(*policy.Policy)   // of the other end
		other   func(*inetdiag.Socket) // the other end
		change  func(l *loop, other *registered, k *kernel)
		want    bool
		explain string
	}{
		"a grace of never": {policy: func(p *policy.Policy) { p.FinWait2Grace = policy.Never }, want: kept, explain: "is never destroyed"},
		"an exemption":     {policy: func(p *policy.Policy) { p.Exempt = []policy.Match{{State: inetdiag.FinWait2}} }, want: kept, explain: "is exempt"},
		"observe":          {policy: func(p *policy.Policy) { p.Mode = policy.Observe }, want: kept, explain: "is observed or left alone"},
		"off":              {policy: func(p *policy.Policy) { p.Mode = policy.Off }, want: kept, explain: "is observed or left alone"},
		"unread bytes":     {other: func(s *inetdiag.Socket) { s.RQueue = 5 }, want: kept, explain: "has bytes to read"},
		"a frozen owner":   {change: freezeOwners, want: kept, explain: "has a frozen or stopped owner"},
		"a longer grace":   {policy: func(p *policy.Policy) { p.FinWait2Grace = policy.Patience(time.Hour) }, want: goes},
		"no reason":        {want: goes},
		"an orphan":        {other: func(s *inetdiag.Socket) { s.Inode = 0 }, want: goes},
		"counts that differ": {
			policy: func(p *policy.Policy) { p.FinWait2Grace = policy.Never }, other: func(s *inetdiag.Socket) { s.Info.BytesReceived = 40 }, want: goes,
		},
		"two that may be it": {
			policy: func(p *policy.Policy) { p.FinWait2Grace = policy.Never }, want: goes,
			change: func(l *loop, other *registered, k *kernel) {
				second := peerLook(7, 0)
				second.Socket.ID = inetdiag.NewID(unix.AF_INET, second.Socket.ID.Local(), second.Socket.ID.Peer(), 3, 99) // bound to a device
				see(l, other.Identity, second)
				k.sockets[99] = second.Socket
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, other, k := newEndsLoop(t)
				if tc.policy != nil {
					tc.policy(&other.policies[0])
				}
				look := peerLook(7, 0)
				if tc.other != nil {
					tc.other(&look.Socket)
				}
				k.sockets[peerCookie(7)] = look.Socket
				see(l, other.Identity, look)
				see(l, ns.Identity, idleLook(7, 0), idleLook(8, 0))
				if tc.change != nil {
					tc.change(l, other, k)
				}
				time.Sleep(testGrace)
				runUntilQuiet(l, k)
				if got := slices.Contains(k.destroyed, 7); got == tc.want || !slices.Contains(k.destroyed, 8) {
					t.Errorf("destroyed are %v", k.destroyed)
				}
				if tc.want == goes {
					return
				}
				var s survey
				l.survey(ns.Identity, &s)
				views := s.fromMemory(api.SocketQuery{})
				if v := views[0]; len(views) != 1 || v.Verdict != policy.PeerSpared || v.Why != "the other end of its connection "+tc.explain || v.Deadline != nil {
					t.Errorf("the list has %+v", views)
				}
				if c := ns.candidates[7]; c.isOverdue(now()) {
					t.Error("it is overdue")
				}
			})
		})
	}
}

// freezeOwners gives the candidates of a network namespace owners that are frozen.
func freezeOwners(_ *loop, other *registered, _ *kernel) {
	for _, c := range other.candidates {
		k := &ownerLookup{conditions: map[int]owners.Condition{42: {Pause: owners.Frozen}}}
		c.owners = newOwnerSet(k, []owners.Process{{PID: 42}}, true, now(), time.Hour)
	}
}

func TestTwoObservedEndsAreBothReportedAsWouldDestroy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, other, k := newEndsLoop(t)
		ns.limit, other.limit = policy.Observe, policy.Observe
		unread := peerLook(8, 0)
		unread.Socket.RQueue = 5
		k.sockets[peerCookie(7)], k.sockets[peerCookie(8)] = peerOf(7, 0), unread.Socket
		see(l, ns.Identity, idleLook(7, 0), idleLook(8, 0))
		see(l, other.Identity, peerLook(7, 0), unread)
		time.Sleep(testGrace)
		runUntilQuiet(l, k)
		if got := outcomesOf(l); got[api.WouldDestroy] != 2 || len(k.destroyed) != 0 {
			t.Errorf("the history has %v", got)
		}
		if reason := ns.candidates[8].verdict.reason; reason != policy.PeerSpared {
			t.Errorf("one whose other end has bytes to read is %v", reason)
		}
	})
}

func TestQueuedConnectionSparesItsOtherEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, other, k := newEndsLoop(t)
		queued := idleLook(7, 0)
		queued.Socket.Inode = 0
		see(l, ns.Identity, queued)
		see(l, other.Identity, peerLook(7, 0))
		k.sockets[7], k.sockets[peerCookie(7)] = queued.Socket, peerOf(7, 0)
		time.Sleep(testGrace)
		runUntilQuiet(l, k)
		if len(k.destroyed) != 0 || other.candidates[peerCookie(7)].verdict.reason != policy.PeerSpared {
			t.Errorf("destroyed are %v", k.destroyed)
		}
		accepted := idleLook(7, testGrace)
		accepted.Entered = 0
		see(l, ns.Identity, accepted)
		runUntilQuiet(l, k)
		if !slices.Equal(k.destroyed, []uint64{peerCookie(7)}) {
			t.Errorf("after it was accepted %v are destroyed", k.destroyed)
		}
	})
}

func TestEndIsDestroyedOnceTheOtherNoLongerSparesIt(t *testing.T) {
	for name, end := range map[string]func(l *loop, ns, other *registered, k *kernel){
		"by another policy": func(l *loop, _, other *registered, _ *kernel) {
			other.policies = newRegistered(2).policies
			other.policies[0].FinWait2Grace = policy.Patience(time.Hour)
			l.tracker.rejudge(other, now())
		},
		"since it is gone": func(l *loop, _, other *registered, k *kernel) {
			k.gone = map[uint64]bool{peerCookie(7): true}
			time.Sleep(time.Second)
			sweep(l, other)
		},
		"since its network namespace is not registered any more": func(l *loop, _, other *registered, _ *kernel) {
			l.tracker.forget(other, now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, other, k := newEndsLoop(t)
				other.policies[0].FinWait2Grace = policy.Never
				k.sockets[peerCookie(7)] = peerOf(7, 0)
				see(l, other.Identity, peerLook(7, 0))
				see(l, ns.Identity, idleLook(7, 0))
				time.Sleep(testGrace + time.Second)
				runUntilQuiet(l, k)
				if len(k.destroyed) != 0 {
					t.Fatalf("destroyed are %v", k.destroyed)
				}
				end(l, ns, other, k)
				runUntilQuiet(l, k)
				if !slices.Equal(k.destroyed, []uint64{7}) {
					t.Errorf("destroyed are %v; it is %v", k.destroyed, ns.candidates[7].verdict.reason)
				}
			})
		})
	}
}

// TestAVanishedOtherEndSparesNoLonger has no finder that reports it: a finder with notifications walks once a minute if no grace
// is short, and a network namespace in mode off may be swept as rarely. The other end of a second connection stays.
func TestAVanishedOtherEndSparesNoLonger(t *testing.T) {
	never := func(p *policy.Policy) { p.FinWait2Grace = policy.Never }
	for name, tc := range map[string]struct {
		spare func(*policy.Policy)
		swept bool // the spared ones, each second
	}{
		"with a grace of never":                        {spare: never},
		"with a grace of never, beside frequent looks": {spare: never, swept: true},
		"with an exemption":                            {spare: func(p *policy.Policy) { p.Exempt = []policy.Match{{State: inetdiag.FinWait2}} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, other, k := newEndsLoop(t)
				tc.spare(&other.policies[0])
				k.sockets[peerCookie(7)], k.sockets[peerCookie(8)] = peerOf(7, 0), peerOf(8, 0)
				see(l, other.Identity, peerLook(7, 0), peerLook(8, 0))
				see(l, ns.Identity, idleLook(7, 0), idleLook(8, 0))
				began := time.Now()
				run := func(d time.Duration) {
					for range d / time.Second {
						time.Sleep(time.Second)
						if tc.swept {
							for cookie := range ns.candidates {
								see(l, ns.Identity, idleLook(cookie, time.Since(began)))
							}
						}
						runUntilQuiet(l, k)
					}
				}
				run(testGrace)
				if len(k.destroyed) != 0 {
					t.Fatalf("destroyed are %v", k.destroyed)
				}
				k.gone = map[uint64]bool{peerCookie(7): true}
				const within = testGrace/4 + time.Second
				run(within)
				if !slices.Equal(k.destroyed, []uint64{7}) {
					t.Errorf("after %v, destroyed are %v; it is %v", within, k.destroyed, ns.candidates[7].verdict.reason)
				}
				looks := len(k.looks)
				run(time.Hour)
				if n := len(k.looks) - looks; n == 0 || n > 40 || !slices.Equal(k.destroyed, []uint64{7}) {
					t.Errorf("%d looks at the other one in an hour; destroyed are %v", n, k.destroyed)
				}
			})
		})
	}
}

// TestASparedEndWhoseOtherEndIsConnectedElsewhereIsLookedAt has another end that leaves without a byte, as in repair mode, and whose
// socket is the end of another connection when it is seen again.
func TestASparedEndWhoseOtherEndIsConnectedElsewhereIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, other, k := newEndsLoop(t)
		other.policies[0].FinWait2Grace = policy.Never
		k.sockets[peerCookie(7)] = peerOf(7, 0)
		see(l, other.Identity, peerLook(7, 0))
		see(l, ns.Identity, idleLook(7, 0))
		time.Sleep(testGrace)
		runUntilQuiet(l, k)
		elsewhere := peerLook(9, 0)
		elsewhere.Socket.ID = inetdiag.NewID(unix.AF_INET, elsewhere.Socket.ID.Local(), elsewhere.Socket.ID.Peer(), 0, peerCookie(7))
		k.sockets[peerCookie(7)] = elsewhere.Socket
		see(l, other.Identity, elsewhere)
		for began := time.Now(); time.Since(began) < testGrace/4+time.Second; time.Sleep(time.Second) {
			runUntilQuiet(l, k)
		}
		if !slices.Equal(k.destroyed, []uint64{7}) {
			t.Errorf("destroyed are %v; it is %v", k.destroyed, ns.candidates[7].verdict.reason)
		}
	})
}

// TestLooksAtOtherEndsInManyNamespacesStayInTheirBudget has sockets of one pod, whose other ends are in as many network namespaces.
func TestLooksAtOtherEndsInManyNamespacesStayInTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, _, k := newEndsLoop(t)
		const pods = 100
		for i := range uint64(pods) {
			other := newRegistered(10 + i)
			other.policies[0].FinWait2Grace = policy.Never
			l.registry.namespaces[other.Identity] = other
			other.limit = l.caps.limit(other)
			k.sockets[peerCookie(i+1)] = peerOf(i+1, 0)
			see(l, other.Identity, peerLook(i+1, 0))
			see(l, ns.Identity, idleLook(i+1, 0))
		}
		time.Sleep(testGrace)
		runUntilQuiet(l, k)
		time.Sleep(testGrace/4 + time.Second)
		jobs := 0
		for j := l.nextJob(now(), l.clock.Wall()); j != nil; j = l.nextJob(now(), l.clock.Wall()) {
			if !j.progress || len(j.list) != 1 {
				t.Fatalf("job %d has %d sockets, and is in the budget: %t", jobs, len(j.list), j.progress)
			}
			k.examine(j)
			l.examined(j, now())
			jobs++
		}
		if jobs != pods || len(l.tracker.inProgressQ) != 0 {
			t.Errorf("%d jobs look at %d ends, and %d wait", jobs, pods, len(l.tracker.inProgressQ))
		}
	})
}

// TestAQueueOfLooksThatAreNotNeededIsVisitedInParts has ends whose peers are being asked, which is as good as a look.
func TestAQueueOfLooksThatAreNotNeededIsVisitedInParts(t *testing.T) {
	l, ns, _, _ := newEndsLoop(t)
	const sockets, limit = 1000, 100
	for i := range uint64(sockets) {
		see(l, ns.Identity, idleLook(i+1, 0))
		c := ns.candidates[i+1]
		c.step.phase = phaseAsking
		l.tracker.pushForProgress(c, lookForOtherEnd)
	}
	if n := l.tracker.takeForProgress(limit, now()); n != 0 || l.tracker.progressQ.Len() != sockets-limit {
		t.Errorf("%d are looked at, and %d wait", n, l.tracker.progressQ.Len())
	}
	l.tracker.forget(ns, now())
	if n := len(l.tracker.inProgressQ); n != 0 {
		t.Errorf("%d wait after their network namespace was forgotten", n)
	}
}

// TestAnEndThatWaitsForALookAtAWithdrawnQuestionGetsIt has an end whose question is withdrawn, and another that becomes due
// before that is answered.
func TestAnEndThatWaitsForALookAtAWithdrawnQuestionGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace = policy.Never
		other := newRegistered(2)
		l.registry.namespaces[other.Identity] = other
		other.policies[0].FinWait2Grace, other.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		k := &kernel{sockets: map[uint64]inetdiag.Socket{peerCookie(7): peerOf(7, 0)}}
		see(l, ns.Identity, idleLook(7, 0))
		see(l, other.Identity, peerLook(7, 0))
		time.Sleep(testProbeAfter)
		runUntilQuiet(l, k)
		c, q := ns.candidates[7], a.last(t)
		ns.policies = slices.Clone(ns.policies)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(time.Hour), policy.Never
		l.tracker.rejudge(ns, now())
		runUntilQuiet(l, k)
		time.Sleep(testGrace)
		runUntilQuiet(l, k)
		if o := other.candidates[peerCookie(7)]; c.step.phase != phaseWithdrawn || o == nil || o.verdict.other != policy.StandingUnknown {
			t.Fatalf("it is %v, destroyed are %v", c.step.phase, k.destroyed)
		}
		l.answered([]prober.Answer{{Question: q, Result: prober.Cancelled, At: now()}}, now())
		runUntilQuiet(l, k)
		if !slices.Equal(k.destroyed, []uint64{peerCookie(7)}) {
			t.Errorf("destroyed are %v", k.destroyed)
		}
	})
}

// TestALookForASparedEndCancelsNoQuestion has an end that asks its peer, which it spares.
func TestALookForASparedEndCancelsNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace = policy.Never
		other := newRegistered(2)
		l.registry.namespaces[other.Identity] = other
		k := &kernel{sockets: map[uint64]inetdiag.Socket{peerCookie(7): peerOf(7, 0)}}
		see(l, ns.Identity, idleLook(7, 0))
		see(l, other.Identity, peerLook(7, 0))
		for range 120 {
			time.Sleep(time.Second)
			runUntilQuiet(l, k)
		}
		if r := other.candidates[peerCookie(7)].verdict.reason; r != policy.PeerSpared || len(a.questions) != 1 || len(a.cancelled) != 0 || len(k.destroyed) != 0 {
			t.Errorf("the end is %v; %d questions, cancelled are %v, destroyed are %v", r, len(a.questions), a.cancelled, k.destroyed)
		}
	})
}

func TestEndWaitsForALookAtTheOther(t *testing.T) {
	saved := func() policy.History {
		s := peerOf(7, 0)
		return policy.Follow(nil, policy.Look{At: now(), Socket: &s})
	}
	t.Run("which shows that it is spared", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ns, other, k := newEndsLoop(t)
			h := saved()
			unread := peerOf(7, 0)
			unread.RQueue = 5
			k.sockets[peerCookie(7)] = unread
			time.Sleep(testGrace)
			see(l, ns.Identity, idleLook(7, testGrace))
			l.tracker.restore(other, aged{history: h}, now())
			runUntilQuiet(l, k)
			if len(k.destroyed) != 0 || ns.candidates[7].verdict.other != policy.StandingUnread {
				t.Errorf("destroyed are %v, it is %v, the other end %v", k.destroyed, ns.candidates[7].verdict.reason, ns.candidates[7].verdict.other)
			}
		})
	})
	t.Run("for as long as the kernel refuses it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ns, other, k := newEndsLoop(t)
			l.tracker.restore(other, aged{history: saved()}, now())
			k.refused = map[uint64]error{peerCookie(7): unix.EPERM}
			see(l, ns.Identity, idleLook(7, 0))
			for range 60 {
				time.Sleep(time.Second)
				runUntilQuiet(l, k)
			}
			if len(k.destroyed) != 0 || len(k.looks) > 20 {
				t.Fatalf("destroyed are %v, after looks at %v", k.destroyed, k.looks)
			}
			k.refused, k.sockets[peerCookie(7)] = nil, peerOf(7, 0)
			for range 20 {
				time.Sleep(time.Second)
				runUntilQuiet(l, k)
			}
			if !slices.Contains(k.destroyed, 7) {
				t.Errorf("after it was looked at: destroyed are %v", k.destroyed)
			}
		})
	})
	t.Run("that is newer than its deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ns, other, k := newEndsLoop(t)
			other.policies[0].FinWait2Grace = policy.Patience(time.Hour)
			k.sockets[peerCookie(7)] = peerOf(7, 0)
			see(l, other.Identity, peerLook(7, 0))
			see(l, ns.Identity, idleLook(7, 0))
			time.Sleep(testGrace)
			deadline := now()
			runUntilQuiet(l, k)
			if last := other.candidates[peerCookie(7)].history.Last; last.Before(deadline) || !slices.Equal(k.destroyed, []uint64{7}) {
				t.Errorf("its last look was %v before the deadline; destroyed are %v", deadline.Sub(last), k.destroyed)
			}
		})
	})
}

func TestPeerOfASparedEndIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		other := newRegistered(2)
		other.policies[0].FinWait2Grace = policy.Never
		l.registry.namespaces[other.Identity] = other
		k := &kernel{sockets: map[uint64]inetdiag.Socket{peerCookie(7): peerOf(7, 0)}}
		see(l, ns.Identity, idleLook(7, 0))
		time.Sleep(testProbeAfter)
		runUntilQuiet(l, k)
		if len(a.questions) != 1 {
			t.Fatalf("it has asked %v", a.questions)
		}
		see(l, other.Identity, peerLook(7, testProbeAfter)) // found late, while the question is out
		see(l, ns.Identity, idleLook(7, testProbeAfter))
		runUntilQuiet(l, k)
		if !slices.Equal(a.cancelled, []uint64{7}) {
			t.Errorf("cancelled are the questions of %v", a.cancelled)
		}
		for range 600 {
			time.Sleep(time.Second)
			runUntilQuiet(l, k)
		}
		if len(a.questions) != 1 {
			t.Errorf("it has asked %d times", len(a.questions))
		}
	})
}

func TestTheOwnersOfBothEndsAreLookedUpTogether(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	other := newRegistered(2)
	l.registry.namespaces[other.Identity] = other
	other.policies[0].FinWait2Grace = policy.Patience(time.Hour)
	peer := peerLook(7, 0)
	peer.Socket.Inode = 77
	see(l, other.Identity, peer)
	leakIn(l, ns, 7, now(), testGrace)
	k, _ := l.owners.collect(now().Add(testGrace - time.Second))
	if _, asked := k.query.Inodes[77]; !asked || len(k.ends) != 1 {
		t.Errorf("owners are asked for of %v", k.query.Inodes)
	}
}

// TestTheOtherEndNeverMakesAnythingLessConservative judges candidates at random with and without their other ends.
func TestTheOtherEndNeverMakesAnythingLessConservative(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	reasons := make(map[policy.Reason]int)
	for range 5000 {
		tr := newTracker()
		tr.findsOwners = rnd.IntN(2) == 0
		ns, other := randomRegistered(rnd, 1), randomRegistered(rnd, 2)
		at := moment(0)
		for range 1 + rnd.IntN(3) {
			at = at.Add(time.Duration(rnd.Int64N(int64(2 * testGrace))))
			look := &finder.Seen{Socket: peerOf(7, time.Minute), At: at}
			look.Socket.RQueue = uint32(rnd.IntN(2))
			look.Socket.Inode = uint32(rnd.IntN(3))
			if rnd.IntN(4) > 0 {
				tr.seen(other, look, at)
			}
			look = seenAt(7, time.Minute, at)
			look.Socket.RQueue = uint32(rnd.IntN(3))
			tr.seen(ns, look, at)
		}
		at = at.Add(time.Duration(rnd.Int64N(int64(2 * testGrace))))
		for _, c := range []*candidate{ns.candidates[7], other.candidates[peerCookie(7)]} {
			if c == nil {
				continue
			}
			own, v := tr.judgeAlone(c, at), tr.judge(c, at)
			reasons[v.Reason]++
			if v.Act > own.Act || v.AskAt < own.AskAt || v.EndAt < own.EndAt || v.Ask && !own.Ask || v.Destroy() && !own.Destroy() {
				t.Fatalf("alone %+v\nwith the other end %+v", own, v)
			}
		}
	}
	if reasons[policy.PeerSpared] < 100 || reasons[policy.Destroyable] < 100 {
		t.Errorf("the reasons are %v", reasons)
	}
}

func randomRegistered(rnd *rand.Rand, id uint64) *registered {
	ns := newRegistered(id)
	p := &ns.policies[0]
	for _, g := range []*policy.Patience{&p.CloseWaitGrace, &p.FinWait2Grace, &p.ProbeAfter, &p.PendingGrace} {
		*g = []policy.Patience{policy.Never, policy.Patience(testGrace), policy.Patience(testGrace / 3)}[rnd.IntN(3)]
	}
	p.Mode = []policy.Mode{policy.Destroy, policy.Destroy, policy.Observe, policy.Off}[rnd.IntN(4)]
	if rnd.IntN(3) == 0 {
		p.Exempt = []policy.Match{{Commands: []string{"keep"}}}
	}
	return ns
}

func TestEndsFindsCandidatesByExchangedAddresses(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	e := newEnds()
	var known []*candidate
	at := func() netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(3))}), uint16(rnd.IntN(3)))
	}
	for i := range 5000 {
		if len(known) > 0 && rnd.IntN(2) == 0 {
			j := rnd.IntN(len(known))
			e.remove(known[j])
			known = slices.Delete(known, j, j+1)
		} else {
			c := &candidate{ns: newRegistered(1)}
			c.history.ID = inetdiag.NewID(unix.AF_INET, at(), at(), 0, uint64(i)+1)
			e.add(c)
			known = append(known, c)
		}
		end := policy.End{Netns: 1, ID: inetdiag.NewID(unix.AF_INET, at(), at(), 0, 1)}
		want, got := map[*candidate]bool{}, map[*candidate]bool{}
		for _, c := range known {
			if other := c.end(); other.Key() == end.OtherKey() {
				want[c] = true
			}
		}
		for c := range e.opposite(&end) {
			got[c] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("step %d: found %d, want %d", i, len(got), len(want))
		}
	}
	for _, c := range known {
		e.remove(c)
	}
	if len(e.first) != 0 {
		t.Errorf("%d are left", len(e.first))
	}
}

// TestCandidateTakesAtMost400Bytes counts the candidate and its entries in the maps and on the agenda.
func TestCandidateTakesAtMost400Bytes(t *testing.T) {
	const n = 120_000
	tr, ns := newTracker(), newRegistered(1)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	look := seenAt(0, 0, moment(0))
	before := heap()
	for i := range uint64(n) {
		look.Socket.ID = inetdiag.NewID(unix.AF_INET, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 16), 1}), 80),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), uint16(i)), 0, i+1)
		tr.seen(ns, look, moment(0))
	}
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes each", each)
	if each > 400 {
		t.Errorf("each takes %.0f bytes", each)
	}
	runtime.KeepAlive(&tr)
}
