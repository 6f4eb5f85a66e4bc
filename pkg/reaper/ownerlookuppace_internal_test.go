// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestOwnerLookUpsStayWithinTheirBudget(t *testing.T) {
	const share, cost, hour = 0.005, 20 * time.Millisecond, 3600
	l, ns := newOwningLoop(t, share)
	spent := time.Duration(0)
	for tenth := range 10 * hour {
		at := moment(time.Duration(tenth) * 100 * time.Millisecond)
		leakIn(l, ns, uint64(tenth%1000+1), at, 3*time.Second) // every look-up has a new socket
		if k := nextLook(l, at); k != nil {
			k.cpu = cost
			spent += cost
			answer(l, k, at, owners.Process{PID: 42})
		}
	}
	most := time.Duration(share * hour * float64(time.Second))
	if saved := time.Duration(share * float64(pacing.BurstWindow)); spent > most+saved+cost || spent < most*4/5 {
		t.Errorf("in an hour it spent %v of %v", spent, most)
	}
}

func TestExpensiveOwnerLookUpsLookFurtherAhead(t *testing.T) {
	l, ns := newOwningLoop(t, 0.005)
	leakIn(l, ns, 1, moment(0), time.Second)
	leakIn(l, ns, 2, moment(0), 19*time.Second)
	k := nextLook(l, moment(0))
	if !slices.Equal(asked(k), []uint32{1}) {
		t.Fatalf("it looks for %v", asked(k))
	}
	k.cpu = 150 * time.Millisecond // which the budget allows every 20 s, beyond its burst
	answer(l, k, moment(0), owners.Process{PID: 42})
	leakIn(l, ns, 3, moment(15*time.Second), testGrace)
	leakIn(l, ns, 4, moment(15*time.Second), 3*time.Second)
	if k := nextLook(l, moment(19*time.Second)); k != nil {
		t.Errorf("before that was earned it looks for %v", asked(k))
	}
	if k := nextLook(l, moment(21*time.Second)); !slices.Equal(asked(k), []uint32{2, 3, 4}) {
		t.Errorf("after that it looks for %v", asked(k))
	}
}

func TestFullWalksForUnownedSocketsAreRare(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	scope := func(at time.Duration, unowned ...uint32) owners.Scope {
		t.Helper()
		leakIn(l, ns, uint64(at/time.Second+1), moment(at), time.Second)
		k := nextLook(l, moment(at))
		if k == nil {
			t.Fatalf("at %v there is no look", at)
		}
		answer(l, k, moment(at), owners.Process{PID: 42}, unowned...)
		return k.query.Scope
	}
	for _, step := range []struct {
		at      time.Duration
		unowned uint32
		want    owners.Scope
	}{
		{0, 0, owners.NetnsProcessesFirst},
		{time.Second, 0, owners.NetnsProcessesFirst}, // all were found, in any network namespace
		{2 * time.Second, 3, owners.NetnsProcessesFirst},
		{3 * time.Second, 0, owners.NetnsProcesses},
		{fullWalkInterval + time.Second, 0, owners.NetnsProcesses},
		{fullWalkInterval + 2*time.Second, 0, owners.NetnsProcessesFirst},
	} {
		if got := scope(step.at, step.unowned); got != step.want {
			t.Errorf("after %v: %v, want %v", step.at, got, step.want)
		}
	}
}

func TestOwnerLookUpHasABoundedNumberOfSockets(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	for i := range uint64(2 * maxLookupSockets) {
		leakIn(l, ns, i+1, moment(0), time.Duration(i+1)*time.Second/maxLookupSockets)
	}
	k := nextLook(l, moment(0))
	if len(k.query.Inodes) != maxLookupSockets || len(k.candidates) != maxLookupSockets {
		t.Errorf("it is for %d sockets", len(k.query.Inodes))
	}
	first := 0
	for inode := range k.query.Inodes {
		if inode <= maxLookupSockets {
			first++
		}
	}
	if first < maxLookupSockets*3/4 {
		t.Errorf("of the earlier half of the sockets it is for %d of %d", first, maxLookupSockets)
	}
	answer(l, k, moment(0), owners.Process{PID: 42})
	if k := nextLook(l, moment(0)); len(k.query.Inodes) != maxLookupSockets {
		t.Errorf("the second is for %d sockets", len(k.query.Inodes))
	}
}

func TestOwnersOfSocketsThatWaitForTheBudgetAreLookedUp(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	l.budget = newBudget(1)
	l.budget.spend(time.Now(), 1)
	var seen []finder.Seen
	for cookie := range uint64(3) {
		s := overdueLook(cookie + 1)
		s.Socket.Inode = uint32(cookie + 1)
		seen = append(seen, s)
	}
	see(l, ns.Identity, seen...)
	j := nextOf(t, l, 3)
	(&kernel{inodes: map[uint64]uint32{2: 2, 3: 3}}).examine(j)
	l.examined(j, now())
	if l.tracker.budgetQ.Len() != 3 {
		t.Fatalf("%d wait for the budget", l.tracker.budgetQ.Len())
	}
	if k := nextLook(l, now()); len(asked(k)) != 3 {
		t.Errorf("it looks for %v", asked(k))
	}
}

func TestFailedOwnerLookUpsAreLoggedOnce(t *testing.T) {
	l, ns := newOwningLoop(t, 0)
	var b strings.Builder
	l.warnings = newWarnings(slog.New(slog.NewTextHandler(&b, nil)))
	l.owners.warnings = l.warnings
	look := func(i int, err error, found bool) uint64 {
		at := moment(time.Duration(i) * time.Second)
		leakIn(l, ns, uint64(i+1), at, time.Second)
		k := nextLook(l, at)
		if k.err = err; found {
			answer(l, k, at, owners.Process{PID: 42})
		} else {
			answer(l, k, at, owners.Process{}, uint32(i+1))
		}
		return l.warnings.all()[WarnOwners]
	}
	denied := &owners.UnseenError{Sockets: 1, Asked: 1, Denied: 300}
	for i, step := range []struct {
		err   error
		found bool
		want  uint64
	}{
		{denied, false, 0},
		{denied, false, 0},
		{denied, true, 0}, // some are found
		{nil, false, 0},   // no process has it
		{nil, false, 0},
		{nil, false, 0},
		{denied, false, 0},
		{errors.New("no proc"), false, 0},
		{denied, false, 1},
		{denied, false, 1},
		{denied, true, 1},
		{denied, false, 1},
		{denied, false, 1},
		{denied, false, 1},
	} {
		if got := look(i, step.err, step.found); got != step.want {
			t.Errorf("after look %d it was said %d times, want %d", i, got, step.want)
		}
	}
	if said := b.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "CAP_SYS_PTRACE") {
		t.Errorf("it says %s", said)
	}
}

// TestOwnersStayKnownWhileTheirSocketsWaitForTheRateLimit has sockets due together for 100 s of the rate limit. Without rules by
// command, one look-up serves them all: else each would expire before its turn comes, and none would be destroyed.
func TestOwnersStayKnownWhileTheirSocketsWaitForTheRateLimit(t *testing.T) {
	const sockets, perSecond = 2000, 20
	for name, named := range map[string]bool{"without commands in the policies": false, "with commands": true} {
		t.Run(name, func(t *testing.T) {
			l, ns := newOwningLoop(t, 0)
			l.owners.perSecond, ns.namesCommands = perSecond, named
			for i := range uint64(sockets) {
				leakIn(l, ns, i+1, moment(0), time.Second)
			}
			k := nextLook(l, moment(0))
			if len(k.query.Inodes) != sockets {
				t.Fatalf("it looks for %d owners", len(k.query.Inodes))
			}
			answer(l, k, moment(0), owners.Process{PID: 42})
			known := 0
			for _, c := range ns.candidates {
				if l.tracker.knowsOwners(c, moment(sockets/perSecond*time.Second)) {
					known++
				}
			}
			if want := map[bool]int{true: 0, false: sockets}[named]; known != want {
				t.Errorf("when the last one's turn comes the owners of %d are known, want %d", known, want)
			}
		})
	}
}
