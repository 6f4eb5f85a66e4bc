// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// newOwningLoop creates a loop with one namespace. The test also acts as its attributor. budget is the CPU budget of
// owner look-ups, as a share of a core.
func newOwningLoop(t *testing.T, budget float64) (*loop, *registered) {
	t.Helper()
	l, ns := newTestLoop(t, policy.Destroy)
	l.owners = l.newOwnerLookups(owners.NewProc("/proc"), budget, moment(0))
	return l, ns
}

// newReadingLoop is newOwningLoop with a reaper that finds owners and reads their conditions, which the test passes to it.
func newReadingLoop(t *testing.T, budget float64) (*loop, *registered) {
	t.Helper()
	l, ns := newOwningLoop(t, budget)
	l.tracker.findsOwners, l.tracker.readsConditions = true, true
	l.owners.conditions = func(context.Context, []int) (map[int]owners.Condition, error) { return nil, nil }
	return l, ns
}

// leakIn reports a socket that is due that long after the moment. Its inode equals its cookie.
func leakIn(l *loop, ns *registered, cookie uint64, at monotime.Time, due time.Duration) *candidate {
	seen := seenAt(cookie, testGrace-due, at)
	seen.Socket.Inode = uint32(cookie)
	seen.Entered = at.Add(due - testGrace)
	l.tracker.seen(ns, seen, at)
	return ns.candidates[cookie]
}

// nextLook returns the look-up or the sample that the loop has started, nil if there is none.
func nextLook(l *loop, at monotime.Time) *ownerLookup {
	l.owners.start(at)
	select {
	case k := <-l.owners.requests:
		return k
	case k := <-l.owners.samples:
		return k
	default:
		return nil
	}
}

// asked returns the inodes that a look-up searches for.
func asked(k *ownerLookup) []uint32 {
	if k == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(k.query.Inodes))
}

// answer finishes a look-up: the process owns all of its sockets except the unowned ones.
func answer(l *loop, k *ownerLookup, at monotime.Time, by owners.Process, unowned ...uint32) {
	k.found = make(map[uint32][]owners.Process)
	list := []owners.Process{by}
	k.whole = make(map[uint32]bool)
	for inode := range k.query.Inodes {
		k.whole[inode] = true
		if !slices.Contains(unowned, inode) {
			k.found[inode] = list
		}
	}
	finish(l, k, at)
}

// finish finishes a look-up or a sample, as the loop does in several turns.
func finish(l *loop, k *ownerLookup, at monotime.Time) {
	for {
		l.owners.finish(k, at)
		select {
		case k = <-l.owners.results:
		default:
			return
		}
	}
}

// turnTo sets the mode of the node.
func turnTo(l *loop, m policy.Mode, at monotime.Time) {
	l.caps.view.Effective = m
	l.applyMode(at)
}

func TestOwnersOfSocketsDueSoonAreLookedUp(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	off := newRegistered(2)
	off.policies[0].Mode = policy.Off
	l.registry.namespaces[off.Identity] = off
	at := moment(0)
	leakIn(l, ns, 11, at, 3*time.Second)
	leakIn(l, ns, 12, at, 8*time.Second)
	leakIn(l, ns, 13, at, 12*time.Second) // later than it looks up owners ahead
	forbidden := leakIn(l, ns, 14, at, 3*time.Second)
	leakIn(l, ns, 15, at, 3*time.Second).shown.inode = 0
	unread := seenAt(16, testGrace+time.Second, at)
	unread.Socket.RQueue, unread.Socket.Inode = 100, 16
	l.tracker.seen(ns, unread, at)
	leakIn(l, off, 17, at, 3*time.Second)
	l.tracker.handle(leakIn(l, ns, 18, at, 15*time.Second), eventNotShown, at)
	leakIn(l, ns, 19, at, 0)
	turnTo(l, policy.Off, at)
	if k := nextLook(l, at); k != nil {
		t.Errorf("where nothing is destroyed, nor noted, it looks for %v", asked(k))
	}
	turnTo(l, policy.Observe, at)
	forbidden.step.phase = phaseForbidden
	at = at.Add(time.Second)
	k := nextLook(l, at)
	if diff := cmp.Diff([]uint32{11, 12, 19}, asked(k)); diff != "" {
		t.Errorf("looked for (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[uint64]struct{}{ns.Identity.Inode: {}}, k.query.Netns); diff != "" {
		t.Errorf("in namespaces (-want +got):\n%s", diff)
	}
	if got := nextLook(l, at.Add(time.Hour)); got != nil {
		t.Errorf("while a look is under way another is for %v", asked(got))
	}
}

func TestNoOwnersAreLookedUpBeforeASocketIsDueSoon(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	if k := nextLook(l, moment(0)); k != nil {
		t.Errorf("with nothing to do it looks for %v", asked(k))
	}
	leakIn(l, ns, 7, moment(0), testGrace)
	for s := range 15 {
		if k := nextLook(l, moment(time.Duration(s)*time.Second)); k != nil {
			t.Fatalf("%v before it is due it looks for %v", testGrace-time.Duration(s)*time.Second, asked(k))
		}
	}
	if k := nextLook(l, moment(16*time.Second)); !slices.Equal(asked(k), []uint32{7}) {
		t.Errorf("4s before it is due it looks for %v", asked(k))
	}
}

func TestExpiredOwnersAreLookedUpAgain(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	c := leakIn(l, ns, 7, moment(0), 3*time.Second)
	k := nextLook(l, moment(0))
	answer(l, k, moment(0), owners.Process{PID: 42})
	if got := nextLook(l, moment(2*time.Second)); got != nil {
		t.Errorf("it looks again for %v", asked(got))
	}
	if c.owners == nil || !slices.Equal(c.owners.list, []owners.Process{{PID: 42}}) {
		t.Errorf("known is %+v", c.owners)
	}
	// The socket waits, for the budget or because the kernel refused.
	if got := nextLook(l, moment(ownersLifetime+time.Second)); !slices.Equal(asked(got), []uint32{7}) {
		t.Errorf("after %v it looks for %v", ownersLifetime+time.Second, asked(got))
	}
}

func TestOwnersBelongToTheInodeOfTheLookUp(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	c, other := leakIn(l, ns, 7, moment(0), 3*time.Second), leakIn(l, ns, 8, moment(0), 3*time.Second)
	k := nextLook(l, moment(0))
	look := c.socket()
	look.Inode = 9 // it was accepted during the look-up
	v := l.tracker.judge(c, moment(0))
	c.take(c.history, &look, v, v.Deadline)
	answer(l, k, moment(0), owners.Process{PID: 42})
	if c.owners != nil {
		t.Errorf("the owner of the socket before is taken for its: %+v", c.owners)
	}
	look = other.socket()
	look.Inode = 10
	v = l.tracker.judge(other, moment(0))
	if other.take(other.history, &look, v, v.Deadline); other.owners != nil {
		t.Errorf("the owner of the socket before stays: %+v", other.owners)
	}
}

// TestOwnersOfAnotherSocketAreNotRecorded changes a socket's inode between the look-up of its owners and its destroy.
func TestOwnersOfAnotherSocketAreNotRecorded(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	for _, cookie := range []uint64{7, 8} {
		seen := overdueLook(cookie)
		seen.Socket.Inode = uint32(10 * cookie)
		see(l, ns.Identity, seen)
	}
	answer(l, nextLook(l, now()), now(), owners.Process{PID: 42, Command: "leaky"})
	j := nextOf(t, l, 2)
	(&kernel{inodes: map[uint64]uint32{7: 71, 8: 80}}).examine(j)
	l.examined(j, now())
	got := make(map[uint64][]owners.Process)
	for _, e := range l.history.after(0) {
		got[e.Cookie] = e.Owners
	}
	want := map[uint64][]owners.Process{7: nil, 8: {{PID: 42, Command: "leaky"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners in the history (-want +got):\n%s", diff)
	}
}

func TestSocketsOfTheSameOwnersShareMemory(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	a, b, c := leakIn(l, ns, 1, moment(0), time.Second), leakIn(l, ns, 2, moment(0), time.Second), leakIn(l, ns, 3, moment(0), time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42}, 3)
	if a.owners != b.owners || len(a.owners.list) != 1 || len(c.owners.list) != 0 {
		t.Errorf("known are %+v, %+v and %+v", a.owners, b.owners, c.owners)
	}
}

// TestNoSocketIsDestroyedBeforeALookUpOfItsOwners has sockets that are past their grace when they are found.
func TestNoSocketIsDestroyedBeforeALookUpOfItsOwners(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	for cookie, inode := range map[uint64]uint32{7: 70, 8: 80} {
		seen := overdueLook(cookie)
		seen.Socket.Inode = inode
		see(l, ns.Identity, seen)
	}
	noneNext(t, l)
	k := nextLook(l, now())
	if !slices.Equal(asked(k), []uint32{70, 80}) {
		t.Fatalf("it looks for %v", asked(k))
	}
	seen := overdueLook(9)
	seen.Socket.Inode = 90
	see(l, ns.Identity, seen) // too late for that look-up
	answer(l, k, now(), owners.Process{PID: 42, Command: "leaky"}, 80)
	j := nextOf(t, l, 2)
	(&kernel{inodes: map[uint64]uint32{7: 70, 8: 80}}).examine(j)
	l.examined(j, now())
	got := make(map[uint64][]owners.Process)
	for _, e := range l.history.after(0) {
		got[e.Cookie] = e.Owners
	}
	want := map[uint64][]owners.Process{7: {{PID: 42, Command: "leaky"}}, 8: nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners in the history (-want +got):\n%s", diff)
	}
	if k := nextLook(l, now()); !slices.Equal(asked(k), []uint32{90}) {
		t.Errorf("then it looks for %v", asked(k))
	}
}

func TestExpiredOwnersAreLookedUpAgainBeforeADestroy(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	c := leakIn(l, ns, 7, moment(0), 3*time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42, Command: "leaky"})
	deadline := c.verdict.deadline
	late := moment(ownersLifetime + time.Second)
	l.tracker.reconsider(c, late)
	if c.step.phase != phaseUnowned || c.verdict.deadline != deadline {
		t.Fatalf("it is %v, and its deadline has moved by %v", c.step.phase, c.verdict.deadline.Sub(deadline))
	}
	answer(l, nextLook(l, late), late, owners.Process{PID: 43, Command: "other"})
	if c.step.phase != phaseQueued || c.owners.list[0].PID != 43 {
		t.Errorf("it is %v, held by %v", c.step.phase, c.owners.list)
	}
}

func TestOwnersAreLookedUpAgainAfterTheOnlyOneExits(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.tracker.findsOwners = true
	c := leakIn(l, ns, 7, moment(0), 0)
	k := nextLook(l, moment(0))
	k.found = map[uint32][]owners.Process{7: {{PID: 1}}}
	k.whole, k.conditions = map[uint32]bool{7: true}, map[int]owners.Condition{1: {Exited: true}}
	finish(l, k, moment(0))
	if v := l.tracker.judge(c, moment(0)); v.Destroy() || !v.NeedsOwners || c.step.phase != phaseUnowned {
		t.Errorf("destroyed %t, it needs owners %t, and it is %v", v.Destroy(), v.NeedsOwners, c.step.phase)
	}
}

// TestIncompleteLookUpDestroysNoSocketThatDependsOnIt has a due socket, whose owners have been looked up.
func TestIncompleteLookUpDestroysNoSocketThatDependsOnIt(t *testing.T) {
	keep := policy.Rule{Match: policy.Match{Commands: []string{"keep"}}, Values: policy.Values{Mode: new(policy.Off)}}
	unknown := owners.Condition{Err: errors.New("no cgroup is visible")}
	for name, tc := range map[string]struct {
		rules      []policy.Rule
		found      []owners.Process
		whole      bool
		conditions map[int]owners.Condition
		want       policy.Reason
	}{
		"one that runs was found":                                   {found: []owners.Process{{PID: 1}}, want: policy.Destroyable},
		"no owner was found, nor can there be any":                  {whole: true, want: policy.Destroyable},
		"no owner was found, and not all processes were looked at":  {want: policy.Destroyable},
		"one was found of whom it is not known whether it runs":     {found: []owners.Process{{PID: 1}}, whole: true, conditions: map[int]owners.Condition{1: unknown}, want: policy.Destroyable},
		"one whose condition was not read":                          {found: []owners.Process{{PID: 1}}, whole: true, conditions: map[int]owners.Condition{}, want: policy.Destroyable},
		"such a one, and one that runs":                             {found: []owners.Process{{PID: 1}, {PID: 2}}, whole: true, conditions: map[int]owners.Condition{1: unknown, 2: {Pause: owners.Running}}, want: policy.Destroyable},
		"such a one, and one that is frozen":                        {found: []owners.Process{{PID: 1}, {PID: 2}}, whole: true, conditions: map[int]owners.Condition{1: unknown, 2: {Pause: owners.Frozen}}, want: policy.OwnerFrozen},
		"no owner was found, a rule names one, who may not be seen": {rules: []policy.Rule{keep}, want: policy.OwnerUnknown},
		"one was found, a rule names another, who may not be seen":  {rules: []policy.Rule{keep}, found: []owners.Process{{PID: 1, Command: "python3"}}, want: policy.OwnerUnknown},
		"one was found, a rule names another, and all were seen":    {rules: []policy.Rule{keep}, found: []owners.Process{{PID: 1, Command: "python3"}}, whole: true, want: policy.Destroyable},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newOwningLoop(t, 0)
			l.tracker.findsOwners = true
			ns.policies[0].Rules, ns.namesCommands = tc.rules, tc.rules != nil
			c := leakIn(l, ns, 7, moment(0), 0)
			k := nextLook(l, moment(0))
			if k == nil || k.allOwners != ns.namesCommands {
				t.Fatalf("the look is %+v, want all processes looked at: %v", k, ns.namesCommands)
			}
			k.found, k.whole, k.conditions = map[uint32][]owners.Process{7: tc.found}, map[uint32]bool{7: tc.whole}, tc.conditions
			finish(l, k, moment(0))
			if got := l.tracker.judge(c, moment(0)).Reason; got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
			if tc.want != policy.OwnerUnknown {
				return
			}
			// The socket may be gone. If it is not, its owners are looked up again.
			again := !c.step.dueAt.IsZero() && c.step.dueAt.Before(moment(ownersLifetime+1))
			if len(tc.found) == 0 {
				again = l.nextJob(moment(0), time.Now()) != nil
			}
			if !again {
				t.Errorf("nothing follows: %v at %v", c.step.phase, c.step.dueAt)
			}
		})
	}
}

// TestTimeWithoutAReadingOfTheOwnersDoesNotCountAsIdle has a reaper without CPU time for its readings: the owner may have been
// stopped between two of them that are farther apart than half of the grace and ten seconds.
func TestTimeWithoutAReadingOfTheOwnersDoesNotCountAsIdle(t *testing.T) {
	const grace, found = 400 * time.Second, 120 * time.Second
	for name, tt := range map[string]struct {
		read time.Duration // after its owners were found
		want time.Duration
	}{
		"a reading in time":         {read: grace/2 + 10*time.Second, want: grace},
		"a reading that comes late": {read: grace/2 + 11*time.Second, want: grace + grace/2 + 11*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newReadingLoop(t, 0)
			ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(grace), policy.Never
			look := finder.Seen{Socket: closeWait(7, 0), At: moment(0), Entered: moment(0)}
			look.Socket.Inode = 7
			l.tracker.seen(ns, &look, moment(0))
			for _, at := range []time.Duration{found, found + tt.read} {
				k := nextLook(l, moment(at))
				if k == nil {
					t.Fatalf("nothing is read at %v", at)
				}
				k.conditions = map[int]owners.Condition{42: {Pause: owners.Running}}
				answer(l, k, moment(at), owners.Process{PID: 42})
			}
			if got := ns.candidates[7].verdict.deadline; got != moment(tt.want) {
				t.Errorf("it is destroyed at %v, want %v", got.Sub(moment(0)), tt.want)
			}
		})
	}
}

// TestFrozenTimeBeforeASocketIsConnectedAgainDoesNotCount has an owner that was frozen, and connects the same socket again: it ran then.
func TestFrozenTimeBeforeASocketIsConnectedAgainDoesNotCount(t *testing.T) {
	const grace = 40 * time.Second
	l, ns := newReadingLoop(t, 0)
	ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(grace), policy.Never
	seen := func(s inetdiag.Socket, at time.Duration) {
		look := finder.Seen{Socket: s, At: moment(at), Entered: moment(at)}
		look.Socket.Inode = 7
		l.tracker.seen(ns, &look, moment(at))
	}
	read := func(at time.Duration, pause owners.Pause) {
		t.Helper()
		k := nextLook(l, moment(at))
		if k == nil {
			t.Fatalf("nothing is read at %v", at)
		}
		k.conditions = map[int]owners.Condition{42: {Pause: pause}}
		answer(l, k, moment(at), owners.Process{PID: 42})
	}
	s := closeWait(7, 0)
	seen(s, 0)
	read(10*time.Second, owners.Frozen)
	s.ID = inetdiag.NewID(s.ID.Family(), s.ID.Local(), closeWait(9, 0).ID.Peer(), 0, 7)
	seen(s, 20*time.Second)
	read(31*time.Second, owners.Running)
	if got, want := ns.candidates[7].verdict.deadline, moment(20*time.Second+grace); got != want {
		t.Errorf("it is destroyed at %v, want %v", got.Sub(moment(0)), want.Sub(moment(0)))
	}
}

// TestASampleWaitsForNoLookUp has a look-up under way whose budget is spent, and sockets that wait for the next one.
func TestASampleWaitsForNoLookUp(t *testing.T) {
	l, ns := newReadingLoop(t, 0.001)
	leakIn(l, ns, 7, moment(0), 3*time.Second)
	k := nextLook(l, moment(0))
	k.cpu = time.Minute
	answer(l, k, moment(0), owners.Process{PID: 42})
	l.tracker.reconsider(leakIn(l, ns, 8, moment(0), 0), moment(0))
	if k := nextLook(l, moment(testGrace)); k == nil || len(k.sampled) != 1 {
		t.Errorf("it reads %+v", k)
	}
}

// TestOwnersOfSocketsThatWaitForTheRateLimitAreRead has a socket whose turn does not come: if its owners were not read, it would need
// another look-up when it does.
func TestOwnersOfSocketsThatWaitForTheRateLimitAreRead(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	c := leakIn(l, ns, 7, moment(0), 3*time.Second)
	answer(l, nextLook(l, moment(0)), moment(0), owners.Process{PID: 42})
	l.tracker.handle(c, eventTimeCame, moment(3*time.Second))
	l.tracker.handle(c, eventTaken, moment(3*time.Second))
	l.tracker.handle(c, eventOverBudget, moment(3*time.Second))
	if c.step.phase != phaseOverBudget {
		t.Fatalf("it is in phase %v", c.step.phase)
	}
	k := nextLook(l, moment(testGrace))
	if k == nil || len(k.sampled) != 1 {
		t.Fatalf("it reads %+v", k)
	}
	k.conditions = map[int]owners.Condition{42: {Pause: owners.Running}}
	finish(l, k, moment(testGrace))
	if c.owners.at != moment(testGrace) || c.step.phase != phaseOverBudget {
		t.Errorf("its owners are read at %v, and it is in phase %v", c.owners.at, c.step.phase)
	}
}

// TestTheShortGraceOfARuleLetsOwnersBeReadOften has a reaper that knows no socket yet.
func TestTheShortGraceOfARuleLetsOwnersBeReadOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for grace, want := range map[time.Duration]time.Duration{time.Second: minSampleInterval, 160 * time.Second: 10 * time.Second, 0: maxSampleInterval} {
			l, ns := newOwningLoop(t, 0)
			l.owners.conditions = func(context.Context, []int) (map[int]owners.Condition, error) { return nil, nil }
			p, r := policy.Default(), registration(ns)
			if g := policy.Patience(grace); g > 0 {
				p.Rules = []policy.Rule{{Match: policy.Match{Commands: []string{"envoy"}}, Values: policy.Values{Grace: &g}}}
			}
			r.Layers = LayersOf(p)
			l.applyCensus(censusOf(l.registry, r))
			at := now()
			l.owners.sample(at)
			if got := l.owners.nextSample.Sub(at); got != want {
				t.Errorf("with a rule's grace of %v the next sample is after %v, want %v", grace, got, want)
			}
		}
	})
}

// TestOwnerThatWasStoppedGetsItsWholePatience stops the owner from 12 s to 28 s within a grace of 40 s, which no
// counter of the kernel shows. The reaper looks up the owners once, and then only reads their conditions.
func TestOwnerThatWasStoppedGetsItsWholePatience(t *testing.T) {
	for name, stops := range map[string]bool{"stopped": true, "running": false} {
		t.Run(name, func(t *testing.T) {
			l, ns := newReadingLoop(t, 0)
			const grace = 40 * time.Second
			ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(grace), policy.Never
			look := finder.Seen{Socket: closeWait(7, 0), At: moment(0), Entered: moment(0)}
			look.Socket.Inode = 7
			l.tracker.seen(ns, &look, moment(0))
			c := ns.candidates[7]
			searches, samples, until := 0, 0, grace
			if stops {
				until += ownersLifetime // the bound on how late it notices that they run again
			}
			for at := time.Duration(0); at < until; at += 500 * time.Millisecond {
				l.tracker.reconsiderIfJudged(c, moment(at)) // as at a look of the finder
				k := nextLook(l, moment(at))
				if k == nil {
					continue
				}
				if at < grace/4 {
					t.Errorf("it looks at %v", at)
				}
				pause := owners.Running
				if stops && at >= 12*time.Second && at < 28*time.Second {
					pause = owners.Stopped
				}
				k.conditions = map[int]owners.Condition{42: {Pause: pause}}
				searches, samples = searches+len(k.candidates), samples+len(k.sampled)
				answer(l, k, moment(at), owners.Process{PID: 42})
			}
			if searches > 3 || samples == 0 || samples > 8 {
				t.Errorf("its owners were looked for %d times, and their conditions read %d times", searches, samples)
			}
			want := moment(grace)
			if stops {
				want = moment(grace + 28*time.Second)
			}
			if got := c.verdict.deadline; got.Before(want) || !stops && got != want {
				t.Errorf("it is destroyed at %v, want %v", got, want)
			}
		})
	}
}

// TestALookUpOfManySocketsIsFinishedInSeveralTurns has a loop that must serve other sockets in between.
func TestALookUpOfManySocketsIsFinishedInSeveralTurns(t *testing.T) {
	l, ns := newReadingLoop(t, 0)
	const sockets = 3 * maxFinishSteps
	for i := range uint64(sockets) {
		leakIn(l, ns, i+1, moment(0), 0)
	}
	k := nextLook(l, moment(0))
	k.found, k.whole = make(map[uint32][]owners.Process), make(map[uint32]bool)
	list := []owners.Process{{PID: 42}}
	for inode := range k.query.Inodes {
		k.found[inode], k.whole[inode] = list, true
	}
	queued := func() (n int) { return l.tracker.examineQ.Len() }
	turns := 0
	for {
		before := queued()
		l.owners.finish(k, moment(0))
		if n := queued() - before; n > maxFinishSteps {
			t.Fatalf("turn %d judges %d sockets", turns, n)
		}
		turns++
		if len(l.owners.results) == 0 {
			break
		}
		k = <-l.owners.results
		if nextLook(l, moment(0)) != nil {
			t.Fatalf("another look-up starts in turn %d", turns)
		}
	}
	if turns != 6 || queued() != sockets || l.owners.isRunning {
		t.Errorf("after %d turns %d sockets are queued for the examiner; it runs: %t", turns, queued(), l.owners.isRunning)
	}
}

// TestOwnersStayKnownUntilTheNextLookUpIsAllowed has a look-up that costs much: the sockets must not need another one before.
func TestOwnersStayKnownUntilTheNextLookUpIsAllowed(t *testing.T) {
	l, ns := newReadingLoop(t, 0.01)
	l.owners.perSecond = 0
	c := leakIn(l, ns, 7, moment(0), 0)
	k := nextLook(l, moment(0))
	k.cpu = time.Second
	answer(l, k, moment(0), owners.Process{PID: 42})
	if next := l.owners.nextLookup; next.Sub(moment(0)) < time.Minute || c.owners.until.Before(next) {
		t.Errorf("the owners are known for %v, and the next look-up is allowed after %v", c.owners.until.Sub(moment(0)), next.Sub(moment(0)))
	}
}
