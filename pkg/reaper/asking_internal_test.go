// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// asker records the questions that a loop asks and cancels.
type asker struct {
	questions []prober.Question
	cancelled []uint64 // cookies
}

func (a *asker) Ask(questions []prober.Question) { a.questions = append(a.questions, questions...) }

func (a *asker) Cancel(_ netns.Identity, cookie uint64) { a.cancelled = append(a.cancelled, cookie) }

// last returns the last question.
func (a *asker) last(t *testing.T) *prober.Question {
	t.Helper()
	if len(a.questions) == 0 {
		t.Fatal("no peer was asked")
	}
	return &a.questions[len(a.questions)-1]
}

const testProbeAfter = 5 * time.Second

// newAskingLoop returns a loop of one network namespace, in which peers are asked after testProbeAfter.
func newAskingLoop(t *testing.T, mode policy.Mode) (*loop, *registered, *asker) {
	t.Helper()
	l, ns := newTestLoop(t, mode)
	a := new(asker)
	l.cfg.Asker, l.tracker.canAsk = a, true
	ns.policies[0].ProbeAfter, ns.policies[0].CloseWaitGrace = policy.Patience(testProbeAfter), policy.Patience(time.Hour)
	return l, ns, a
}

// idleLook is a look at a socket whose half-close a finder saw that long ago.
func idleLook(cookie uint64, idle time.Duration) finder.Seen {
	at := now()
	return finder.Seen{Socket: closeWait(cookie, idle), At: at, Entered: at.Add(-idle)}
}

// runUntilQuiet does the work of the loop between two events, with a free examiner.
func runUntilQuiet(l *loop, k *kernel) {
	for {
		j := l.nextJob(now(), l.clock.Wall())
		l.sendQuestions(now())
		switch {
		case j != nil:
			k.examine(j)
			l.examined(j, now())
		case l.untilWork(now(), l.clock.Wall()) > 0:
			return
		}
	}
}

func TestPeerIsAskedAfterProbeAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		see(l, ns.Identity, idleLook(7, 0), idleLook(8, 4*time.Second))
		runUntilQuiet(l, new(kernel))
		if len(a.questions) != 0 {
			t.Fatalf("it asks %v at once", a.questions)
		}
		time.Sleep(time.Second)
		runUntilQuiet(l, new(kernel))
		q := a.last(t)
		if len(a.questions) != 1 || q.ID != closeWait(8, 0).ID {
			t.Fatalf("after a second it asks %v", a.questions)
		}
		want := prober.Question{
			Netns: ns.Netns, ID: q.ID, State: q.State, Inode: 1, Count: 6, Interval: 10 * time.Second, ProbeAfter: testProbeAfter, Tag: q.Tag,
		}
		if diff := cmp.Diff(want, *q, exactly); diff != "" {
			t.Errorf("the question (-want +got):\n%s", diff)
		}
		sweep(l, ns, 7, 8) // looks while the question is out change nothing
		runUntilQuiet(l, new(kernel))
		if len(a.questions) != 1 || len(a.cancelled) != 0 {
			t.Errorf("it asks %v and cancels %v", a.questions, a.cancelled)
		}
	})
}

func TestAnswerDeterminesTheNextPhase(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  prober.Answer
		outcome map[string]int // in the history
		phase   phase
		retryAt time.Duration // time of the next question after the half-close; 0 if there is none within ten minutes
		why     string        // the verdict in the list
	}{
		"alive: it is asked again at three times the patience": {
			answer: prober.Answer{Result: prober.Alive}, phase: phaseTimed, retryAt: 3 * testProbeAfter, why: "its peer answered",
		},
		"reset: it is gone": {
			answer: prober.Answer{Result: prober.Reset}, phase: phaseDropped, outcome: map[string]int{api.PeerGone: 1},
		},
		"no answer: it is gone": {
			answer: prober.Answer{Result: prober.TimedOut}, phase: phaseDropped, outcome: map[string]int{api.PeerGone: 1},
		},
		"closed by its owner": {
			answer: prober.Answer{Result: prober.Closed}, phase: phaseDropped, outcome: map[string]int{api.Closed: 1},
		},
		"not asked: grace alone counts until the next question is due": {
			answer: prober.Answer{Result: prober.NotAsked, Obstacle: prober.Linger}, phase: phaseTimed, retryAt: 3 * testProbeAfter,
			why: "the peer cannot be asked: linger",
		},
		"no probe went out: the same": {
			answer: prober.Answer{Result: prober.NotAsked, Err: prober.ErrNoProbe}, phase: phaseTimed, retryAt: 3 * testProbeAfter,
		},
		"cancelled by the prober: it is retried": {
			answer: prober.Answer{Result: prober.Cancelled}, phase: phaseUnasked, retryAt: testProbeAfter + retryAfter,
		},
		"the prober is stuck: it is retried": {
			answer: prober.Answer{Result: prober.NotAsked, Err: prober.ErrStuck}, phase: phaseUnasked, retryAt: testProbeAfter + retryAfter,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, a := newAskingLoop(t, policy.Destroy)
				see(l, ns.Identity, idleLook(7, testProbeAfter))
				runUntilQuiet(l, new(kernel))
				c := ns.candidates[7]
				tc.answer.Question, tc.answer.At = a.last(t), now()
				l.answered([]prober.Answer{tc.answer, tc.answer}, now()) // the second answer belongs to no question
				if diff := cmp.Diff(tc.outcome, outcomesOrNil(l)); diff != "" || c.step.phase != tc.phase {
					t.Errorf("it is %v; the history has (-want +got):\n%s", c.step.phase, diff)
				}
				if known := ns.candidates[7] != nil; known != (tc.phase != phaseDropped) {
					t.Errorf("it is known: %v", known)
				}
				if tc.why != "" {
					time.Sleep(time.Second)
					var s survey
					l.survey(ns.Identity, &s)
					if views := s.fromMemory(api.SocketQuery{}); !strings.Contains(views[0].Why, tc.why) {
						t.Errorf("the list says %q", views[0].Why)
					}
				}
				half := c.history.Since
				for len(a.questions) < 2 && now().Sub(half) < 10*time.Minute {
					time.Sleep(time.Second)
					runUntilQuiet(l, new(kernel))
				}
				if got := now().Sub(half); len(a.questions) == 2 && got != tc.retryAt || len(a.questions) < 2 && tc.retryAt != 0 {
					t.Errorf("it has asked %d times, the last %v after the half-close, want after %v", len(a.questions), got, tc.retryAt)
				}
			})
		})
	}
}

func TestQuestionThatCannotBeAskedDoesNotDelayTheDestroy(t *testing.T) {
	for name, change := range map[string]func(*loop, *registered){
		"of the grace from the start": func(_ *loop, ns *registered) {
			ns.policies[0].CloseWaitGrace = policy.Patience(testProbeAfter + retryAfter/2)
		},
		"of a grace that a later policy has": func(l *loop, ns *registered) {
			ns.policies[0].CloseWaitGrace = policy.Patience(testProbeAfter + retryAfter/2)
			l.tracker.rejudge(ns, now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, a := newAskingLoop(t, policy.Destroy)
				isLater := strings.Contains(name, "later")
				if !isLater {
					change(l, ns)
				}
				see(l, ns.Identity, idleLook(7, testProbeAfter))
				runUntilQuiet(l, new(kernel))
				half := ns.candidates[7].history.Since
				refuse := func() {
					if len(l.asked) > 0 {
						l.answered([]prober.Answer{{Question: a.last(t), Result: prober.NotAsked, Err: errors.New("no space left"), At: now()}}, now())
					}
				}
				refuse()
				if isLater {
					change(l, ns)
				}
				for ns.candidates[7] != nil && now().Sub(half) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					runUntilQuiet(l, new(kernel))
					refuse()
				}
				if got, want := now().Sub(half), testProbeAfter+retryAfter/2; got < want || got > want+time.Second {
					t.Errorf("it is destroyed %v after the half-close, want %v", got, want)
				}
			})
		})
	}
}

func outcomesOrNil(l *loop) map[string]int {
	if got := outcomesOf(l); len(got) > 0 {
		return got
	}
	return nil
}

func TestHistoryReportsHowAPeerWasFoundGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		see(l, ns.Identity, idleLook(7, testProbeAfter))
		runUntilQuiet(l, new(kernel))
		ns.candidates[7].owners = newOwnerSet(&ownerLookup{}, []owners.Process{{PID: 42, Command: "leaky"}}, true, now(), time.Minute)
		time.Sleep(time.Second)
		l.answered([]prober.Answer{{Question: a.last(t), Result: prober.Reset, At: now()}}, now())
		got := l.history.after(0)[0]
		want := api.Entry{
			Seq: 1, Time: time.Now(), Outcome: api.PeerGone, How: "reset", OwnerResult: "recv: unread bytes, then EOF; send: EPIPE",
			Local: got.Local, Peer: got.Peer, State: got.State, Age: api.Seconds(testProbeAfter + time.Second),
			Idle: api.Seconds(testProbeAfter + time.Second), Cookie: 7, Owners: []owners.Process{{PID: 42, Command: "leaky"}},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("the entry (-want +got):\n%s", diff)
		}
		if l.counts.PeerGone != 1 || l.tracker.events[eventPeerGone] != 1 {
			t.Errorf("%d are counted", l.counts.PeerGone)
		}
	})
}

func TestQuestionIsCancelled(t *testing.T) {
	moved := func(l *loop, ns *registered) {
		s := idleLook(7, testProbeAfter)
		s.Entered = 0
		s.Socket.Info.BytesAcked += 10
		s.Socket.Info.SegsIn++
		see(l, ns.Identity, s)
	}
	for name, tc := range map[string]struct {
		change  func(l *loop, ns *registered)
		phase   phase
		isRetry bool // it is asked again at once
		// destroyed is set if the socket is destroyed once the prober no longer uses it.
		destroyed bool
	}{
		"by progress": {change: moved, phase: phaseTimed},
		"by a DEL":    {change: func(l *loop, _ *registered) { l.applyCensus(censusOf(l.registry)) }, phase: phaseDropped},
		"by the end of its grace": {
			change: func(*loop, *registered) { time.Sleep(time.Hour) }, phase: phaseDropped, destroyed: true,
		},
		"by a policy that asks later": {
			change: func(l *loop, ns *registered) {
				ns.policies = slices.Clone(ns.policies)
				ns.policies[0].ProbeAfter = policy.Patience(time.Minute)
				l.tracker.rejudge(ns, now())
			}, phase: phaseTimed,
		},
		"by a policy that asks otherwise, to be asked so": {
			change: func(l *loop, ns *registered) {
				ns.policies = slices.Clone(ns.policies)
				ns.policies[0].ProbeCount = 3
				l.tracker.rejudge(ns, now())
			}, phase: phaseAsking, isRetry: true,
		},
		"by the node's switch": {change: func(l *loop, _ *registered) { turnTo(l, policy.Observe, now()) }, phase: phaseForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, a := newAskingLoop(t, policy.Destroy)
				see(l, ns.Identity, idleLook(7, testProbeAfter))
				runUntilQuiet(l, new(kernel))
				c, q := ns.candidates[7], a.last(t)
				time.Sleep(time.Second)
				tc.change(l, ns)
				k := new(kernel)
				runUntilQuiet(l, k)
				phase := phaseWithdrawn
				if tc.phase == phaseDropped && !tc.destroyed {
					phase = phaseDropped
				}
				if !slices.Equal(a.cancelled, []uint64{7}) || c.step.phase != phase || len(a.questions) != 1 || len(outcomesOf(l)) != 0 {
					t.Errorf("cancelled are %v, it is %v, %d questions were asked, and the history has %v", a.cancelled, c.step.phase,
						len(a.questions), outcomesOf(l))
				}
				l.answered([]prober.Answer{{Question: q, Result: prober.Cancelled, At: now()}}, now())
				runUntilQuiet(l, k)
				if c.step.phase != tc.phase || len(a.questions) == 2 != tc.isRetry || (outcomesOf(l)[api.Destroyed] == 1) != tc.destroyed {
					t.Errorf("once that is answered it is %v, %d questions were asked, and the history has %v", c.step.phase, len(a.questions), outcomesOf(l))
				}
				if tc.isRetry {
					delete(l.asked, c)
				}
				if len(l.asked) != 0 {
					t.Errorf("%d questions are still out", len(l.asked))
				}
			})
		})
	}
}

func TestQuestionThatIsWithdrawnBeforeItIsSentIsJudgedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		grace     time.Duration
		questions int
		left      int // candidates
	}{
		"its peer is asked":           {time.Hour, 1, 1},
		"or it is destroyed if due":   {testProbeAfter, 0, 0},
		"or neither, with more grace": {time.Hour, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, a := newAskingLoop(t, policy.Destroy)
				see(l, ns.Identity, idleLook(7, testProbeAfter))
				c := ns.candidates[7]
				for l.tracker.handleDue(now()); len(l.tracker.toAsk) == 0; { // up to the question, which is not sent
					j := l.nextJob(now(), l.clock.Wall())
					if j == nil {
						break
					}
					new(kernel).examine(j)
					l.examined(j, now())
				}
				if c.step.phase != phaseAsking || len(a.questions) != 0 {
					t.Fatalf("it is %v, and %d questions are out", c.step.phase, len(a.questions))
				}
				ns.policies[0].CloseWaitGrace = policy.Patience(tc.grace)
				if tc.questions == 0 {
					ns.policies[0].ProbeAfter = policy.Never
				}
				l.tracker.rejudge(ns, now())
				runUntilQuiet(l, new(kernel))
				if len(a.questions) != tc.questions || len(ns.candidates) != tc.left {
					t.Errorf("it is %v after %d questions, and %d candidates are left; want %d and %d",
						c.step.phase, len(a.questions), len(ns.candidates), tc.questions, tc.left)
				}
			})
		})
	}
}

// TestCancelledQuestionMayStillResetItsSocket answers a question that was cancelled too late.
func TestCancelledQuestionMayStillResetItsSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		see(l, ns.Identity, idleLook(7, testProbeAfter))
		runUntilQuiet(l, new(kernel))
		turnTo(l, policy.Observe, now())
		runUntilQuiet(l, new(kernel))
		l.answered([]prober.Answer{{Question: a.last(t), Result: prober.Reset, At: now()}}, now())
		if diff := cmp.Diff(map[string]int{api.PeerGone: 1}, outcomesOf(l)); diff != "" || ns.candidates[7] != nil {
			t.Errorf("the history (-want +got):\n%s", diff)
		}
	})
}

func TestObserveAsksNoPeerAndCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Observe)
		ns.policies[0].CloseWaitGrace = policy.Patience(time.Minute)
		see(l, ns.Identity, idleLook(7, 0))
		for range 240 {
			time.Sleep(time.Second)
			sweep(l, ns, 7)
			runUntilQuiet(l, new(kernel))
		}
		if len(a.questions) != 0 || l.allCounts().WouldAsk != 1 {
			t.Errorf("%d were asked, %d would have been", len(a.questions), l.allCounts().WouldAsk)
		}
		if diff := cmp.Diff(map[string]int{api.WouldDestroy: 1}, outcomesOf(l)); diff != "" {
			t.Errorf("the history (-want +got):\n%s", diff)
		}
		turnTo(l, policy.Destroy, now()) // which the policy does not forbid
		runUntilQuiet(l, new(kernel))
		if diff := cmp.Diff(map[string]int{api.WouldDestroy: 1, api.Destroyed: 1}, outcomesOf(l)); diff != "" {
			t.Errorf("in mode destroy the history (-want +got):\n%s", diff)
		}
	})
}

// TestNewIdleTimeIsNoticedWithoutADeadline moves bytes on a socket that is never destroyed, under either clock.
func TestNewIdleTimeIsNoticedWithoutADeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		clock policy.Clock
		want  uint64 // questions that the mode prevented
	}{"progress begins it": {policy.ClockProgress, 2}, "by the clock of the state nothing does": {policy.ClockState, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns, _ := newAskingLoop(t, policy.Observe)
				ns.policies[0].CloseWaitGrace, ns.policies[0].Clock = policy.Never, tc.clock
				see(l, ns.Identity, idleLook(7, testProbeAfter))
				runUntilQuiet(l, new(kernel))
				c := ns.candidates[7]
				if l.allCounts().WouldAsk != 1 {
					t.Fatalf("%d would have been asked", l.allCounts().WouldAsk)
				}
				c.verdict.obstacle = prober.Linger
				time.Sleep(time.Second)
				move := func() {
					moved := finder.Seen{Socket: closeWait(7, now().Sub(c.history.Since)), At: now()}
					moved.Socket.Info.BytesAcked += 5
					see(l, ns.Identity, moved)
				}
				move()
				if kept := c.verdict.obstacle != prober.NoObstacle; kept != (tc.want == 1) {
					t.Errorf("what kept it from being asked in the idle time before is known still: %v", kept)
				}
				time.Sleep(testProbeAfter)
				move() // no further
				if got := l.allCounts().WouldAsk; got != tc.want {
					t.Errorf("%d would have been asked, want %d", got, tc.want)
				}
			})
		})
	}
}

func TestWithoutAnAskerOnlyGraceCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		l.tracker.canAsk = false
		see(l, ns.Identity, idleLook(7, 0))
		time.Sleep(time.Hour - time.Second)
		runUntilQuiet(l, new(kernel))
		if len(a.questions) != 0 || len(outcomesOf(l)) != 0 {
			t.Errorf("%d were asked; the history has %v", len(a.questions), outcomesOf(l))
		}
		time.Sleep(time.Second)
		runUntilQuiet(l, new(kernel))
		if outcomesOf(l)[api.Destroyed] != 1 {
			t.Errorf("the history has %v", outcomesOf(l))
		}
	})
}

func TestWithoutAnAskerObserveForbidsNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, _ := newAskingLoop(t, policy.Observe)
		l.tracker.canAsk = false
		see(l, ns.Identity, idleLook(7, 0))
		time.Sleep(testProbeAfter)
		runUntilQuiet(l, new(kernel))
		c := ns.candidates[7]
		if got := c.sparedNow(false, now()); c.verdict.reason != policy.WouldAsk || got != policy.WithinGrace || l.allCounts().WouldAsk != 0 {
			t.Errorf("with the verdict %v it is spared for %v, and %d would have been asked", c.verdict.reason, got, l.allCounts().WouldAsk)
		}
		time.Sleep(time.Hour - testProbeAfter)
		runUntilQuiet(l, new(kernel))
		if diff := cmp.Diff(map[string]int{api.WouldDestroy: 1}, outcomesOf(l)); diff != "" || c.sparedNow(false, now()) != policy.WouldDestroy {
			t.Errorf("it is spared for %v; the history (-want +got):\n%s", c.sparedNow(false, now()), diff)
		}
	})
}

// TestQuestionHasTheFoundOwners looks up the owners first.
func TestQuestionHasTheFoundOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		l.owners = l.newOwnerLookups(owners.NewProc("/proc"), 0, now())
		l.tracker.findsOwners = true
		see(l, ns.Identity, idleLook(7, testProbeAfter))
		runUntilQuiet(l, new(kernel))
		if len(a.questions) != 0 {
			t.Fatalf("it asks %v before the owners are known", a.questions)
		}
		k := nextLook(l, now())
		k.found = map[uint32][]owners.Process{1: {{PID: 42, Command: "a", TID: 42, FD: 7}, {PID: 43, Command: "b", TID: 44, FD: 8}}}
		k.conditions = map[int]owners.Condition{42: {Sigpipe: owners.SigpipeIgnored}, 43: {Sigpipe: owners.SigpipeUnknown}}
		finish(l, k, now())
		runUntilQuiet(l, new(kernel))
		want := []prober.Owner{{PID: 42, FD: 7, HasFD: true}, {PID: 43, TID: 44, FD: 8, HasFD: true, DiesOfSigpipe: true}}
		if diff := cmp.Diff(want, a.last(t).Owners); diff != "" {
			t.Errorf("asked through (-want +got):\n%s", diff)
		}
	})
}

// TestSocketOfAFrozenOwnerIsNeitherAskedAboutNorDestroyed freezes the owner from before the question until long after
// the grace. Once the owner runs again, the socket gets its whole patience.
func TestSocketOfAFrozenOwnerIsNeitherAskedAboutNorDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, a := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace = policy.Patience(testGrace)
		l.owners = l.newOwnerLookups(owners.NewProc("/proc"), 0, now())
		l.tracker.findsOwners = true
		see(l, ns.Identity, idleLook(7, 0))
		pause := owners.Stopped
		run := func(d time.Duration) {
			for range d / time.Second {
				time.Sleep(time.Second)
				runUntilQuiet(l, new(kernel))
				if k := nextLook(l, now()); k != nil {
					k.found = map[uint32][]owners.Process{1: {{PID: 42}}}
					k.conditions = map[int]owners.Condition{42: {Pause: pause, Sigpipe: owners.SigpipeIgnored}}
					finish(l, k, now())
				}
				runUntilQuiet(l, new(kernel))
			}
		}
		run(3 * testGrace)
		if len(a.questions) != 0 || len(outcomesOf(l)) != 0 || ns.candidates[7].verdict.reason != policy.OwnerFrozen {
			t.Fatalf("%d were asked; the history has %v; it is spared for %v", len(a.questions), outcomesOf(l), ns.candidates[7].verdict.reason)
		}
		pause = owners.Running
		run(testGrace - time.Second)
		if n := outcomesOf(l)[api.Destroyed]; n != 0 {
			t.Error("it was destroyed before it had its whole grace")
		}
		run(testGrace + ownersLifetime)
		l.answered([]prober.Answer{{Question: a.last(t), Result: prober.Cancelled, At: now()}}, now())
		run(time.Second)
		if outcomesOf(l)[api.Destroyed] != 1 {
			t.Errorf("the history has %v", outcomesOf(l))
		}
	})
}

func TestAgesOfASocketWithFrozenOwnersExcludeTheTimeSinceItsLastByte(t *testing.T) {
	for name, tc := range map[string]struct {
		owners *ownerSet
		idle   time.Duration // of the saved history
	}{
		"all are frozen":        {&ownerSet{facts: []policy.Owner{{Frozen: true}, {Frozen: true}}}, 0},
		"one of them runs":      {&ownerSet{facts: []policy.Owner{{Frozen: true}, {}}}, 3 * time.Second},
		"none is known":         {&ownerSet{}, 3 * time.Second},
		"they were not found":   {nil, 3 * time.Second},
		"the only owner thawed": {&ownerSet{facts: []policy.Owner{{}}}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns := newTestLoop(t, policy.Destroy)
				see(l, ns.Identity, idleLook(7, 3*time.Second))
				c := ns.candidates[7]
				c.owners = tc.owners
				before := c.history
				saved := l.tracker.aged(c, now())
				if got := now().Sub(saved.history.IdleStart(policy.ClockProgress)); got != tc.idle {
					t.Errorf("the saved idle time is %v, want %v", got, tc.idle)
				}
				if !isPlausible(saved.history, now()) || c.history != before {
					t.Errorf("saved as %+v, and the history is %+v", saved.history, c.history)
				}
			})
		})
	}
}

func TestAnswerForAnUnknownNamespaceIsIgnored(t *testing.T) {
	l, _, _ := newAskingLoop(t, policy.Destroy)
	q := prober.Question{Netns: finder.Netns{Identity: netns.Identity{Inode: 99}}}
	l.answered([]prober.Answer{{Question: &q, Result: prober.Reset, Err: errors.New("none")}}, now())
	if got := outcomesOf(l); len(got) != 0 {
		t.Errorf("the history has %v", got)
	}
}

// TestASocketThatIsTooIdleToBeAskedIsNotAskedAgainAtOnce counts its answer as a question.
func TestASocketThatIsTooIdleToBeAskedIsNotAskedAgainAtOnce(t *testing.T) {
	for err, want := range map[error]event{prober.ErrTooIdle: eventNotAsked, prober.ErrNoProbe: eventNotAsked, prober.ErrUnacked: eventCancelled} {
		if got := answerEvent(&prober.Answer{Result: prober.NotAsked, Err: err}); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
