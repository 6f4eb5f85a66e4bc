// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

// TestLoopRecordsOnceWhereTheSwitchMakesNoDifference has an attachment that observes, on a node whose switch is
// turned back and forth.
func TestLoopRecordsOnceWhereTheSwitchMakesNoDifference(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	other := newRegistered(2)
	l.registry.namespaces[other.Identity] = other
	ns.policies[0].Mode = policy.Observe
	see(l, ns.Identity, overdueLook(7))
	for i, mode := range []policy.Mode{policy.Observe, policy.Destroy, policy.Observe, policy.Destroy} {
		if i == 1 {
			see(l, other.Identity, overdueLook(8)) // where it does make one
		}
		for j := l.nextJob(now(), time.Now()); j != nil; j = l.nextJob(now(), time.Now()) {
			new(kernel).examine(j)
			l.examined(j, now())
		}
		turn(t, l, mode)
	}
	if ns.wouldDestroy != 1 || ns.destroyed != 0 {
		t.Errorf("%d would have been destroyed, %d were, of the one that is only observed", ns.wouldDestroy, ns.destroyed)
	}
	if other.wouldDestroy != 1 || other.destroyed != 1 {
		t.Errorf("%d would have been destroyed, %d were, of the one that the switch is for", other.wouldDestroy, other.destroyed)
	}
}
