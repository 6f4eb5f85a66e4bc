// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestANetnsStaysUnreachableUntilItIsEntered(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	l.reach = newReach(Trials{Enter: func() error { return nil }}, nil)
	l.failed(ns.Identity, unix.EPERM)
	l.swept(&finder.Sweep{Began: now()}, nil)
	if l.unreachable() != 1 || len(l.refusals()) != 1 || l.refusals()[0].Fatal {
		t.Errorf("%d unreachable, refusals %+v", l.unreachable(), l.refusals())
	}
	l.try(now())
	order := <-l.reach.orders
	if len(order.netns) != 1 || order.netns[0].Identity != ns.Identity {
		t.Fatalf("it tries to enter %+v", order.netns)
	}
	order.entered = []error{nil}
	l.tried(order)
	if l.unreachable() != 0 || len(l.refusals()) != 0 {
		t.Errorf("once it was entered: %d unreachable, refusals %+v", l.unreachable(), l.refusals())
	}
	if l.try(now()); len(l.reach.orders) != 0 {
		t.Error("it tries again though nothing is refused")
	}
}

func TestAReaperThatIsKeptOutOfAllNetnsObservesUntilItIsNot(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	refused := error(unix.EPERM)
	l.reach = newReach(Trials{Enter: func() error { return refused }}, nil)
	l.tryFirst()
	if ns.mode() != policy.Observe || l.unreachable() != 1 || !l.refusals()[0].Fatal {
		t.Errorf("mode %v, %d unreachable", ns.mode(), l.unreachable())
	}
	refused = unix.EMFILE // says nothing of what is refused
	if l.tryFirst(); ns.mode() != policy.Destroy || l.unreachable() != 0 {
		t.Errorf("once it can enter: mode %v, %d unreachable", ns.mode(), l.unreachable())
	}
}
