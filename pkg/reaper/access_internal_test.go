// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestNetnsIsUnreachableUntilItIsEntered(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	l.access = newAccess(Trials{Enter: func() error { return nil }}, nil)
	l.failed(ns.Identity, unix.EPERM)
	l.swept(&finder.Sweep{Began: now()}, nil)
	if l.unreachable() != 1 || len(l.refusals()) != 1 || l.refusals()[0].Fatal {
		t.Errorf("%d unreachable, refusals %+v", l.unreachable(), l.refusals())
	}
	l.startTrial(now())
	order := <-l.access.orders
	if len(order.netns) != 1 || order.netns[0].Identity != ns.Identity {
		t.Fatalf("the trial enters %+v", order.netns)
	}
	order.entered = []error{nil}
	l.finishTrial(order)
	if l.unreachable() != 0 || len(l.refusals()) != 0 {
		t.Errorf("after it was entered: %d unreachable, refusals %+v", l.unreachable(), l.refusals())
	}
	if l.startTrial(now()); len(l.access.orders) != 0 {
		t.Error("it tries again although nothing is refused")
	}
}

func TestReaperThatCannotEnterAnyNetnsOnlyObserves(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	refused := error(unix.EPERM)
	l.access = newAccess(Trials{Enter: func() error { return refused }}, nil)
	l.tryEntry()
	if ns.mode() != policy.Observe || l.unreachable() != 1 || !l.refusals()[0].Fatal {
		t.Errorf("mode %v, %d unreachable", ns.mode(), l.unreachable())
	}
	refused = unix.EMFILE // temporary
	if l.tryEntry(); ns.mode() != policy.Destroy || l.unreachable() != 0 {
		t.Errorf("after it was entered: mode %v, %d unreachable", ns.mode(), l.unreachable())
	}
}

// One process that refuses both operations, as process 1 does in some containers, is one thing to fix.
func TestProcessThatRefusesToBeInspectedIsLoggedOnce(t *testing.T) {
	l, _ := newTestLoop(t, policy.Destroy)
	var logged strings.Builder
	l.warnings = newWarnings(slog.New(slog.NewTextHandler(&logged, nil)))
	l.access = newAccess(Trials{Enter: func() error { return nil }}, nil)
	l.finder.Name, l.tracker.canAsk = finder.NameSockDiag, true
	l.startTrial(now())
	order := <-l.access.orders
	denial := owners.Denial{Count: 1, First: owners.Process{PID: 1, Command: "init"}, Err: unix.EACCES}
	order.netns = nil
	order.withProcesses, order.processes = true, owners.Access{Processes: 9, List: denial, Receive: denial}
	for range 2 {
		l.finishTrial(order)
	}
	if got := strings.Count(logged.String(), "level=WARN"); got != 1 {
		t.Errorf("%d warnings, want one:\n%s", got, &logged)
	}
	if got := l.warnings.all(); got[WarnOwners] != 1 || got[WarnAsking] != 1 {
		t.Errorf("counted %v", got)
	}
	if got := l.refusals(); len(got) != 2 {
		t.Errorf("the status has %+v, want both", got)
	}
}
