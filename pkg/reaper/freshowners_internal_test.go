// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestOwnerThatFreezesAfterItsLookUpSparesItsSocket lets the owner run at each look-up, and freezes it just before the destroy.
func TestOwnerThatFreezesAfterItsLookUpSparesItsSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, _ := newAskingLoop(t, policy.Destroy)
		ns.policies[0].CloseWaitGrace, ns.policies[0].ProbeAfter = policy.Patience(testGrace), policy.Never
		l.owners = l.newOwnerLookups(owners.NewProc("/proc"), 0, now())
		l.tracker.findsOwners = true
		see(l, ns.Identity, idleLook(7, 0))
		k := &kernel{conditions: map[int]owners.Condition{42: {Pause: owners.Frozen, Sigpipe: owners.SigpipeIgnored}}}
		run := func(d time.Duration) {
			for range d / time.Second {
				time.Sleep(time.Second)
				runUntilQuiet(l, k)
				if look := nextLook(l, now()); look != nil {
					look.found = map[uint32][]owners.Process{1: {{PID: 42}}}
					look.conditions = map[int]owners.Condition{42: {Pause: owners.Running, Sigpipe: owners.SigpipeIgnored}}
					l.owners.finish(look, now())
				}
				runUntilQuiet(l, k)
			}
		}
		run(testGrace + time.Minute)
		if n := outcomesOf(l)[api.Destroyed]; n != 0 {
			t.Fatalf("%d were destroyed while their owner was frozen", n)
		}
		k.conditions[42] = owners.Condition{Pause: owners.Running, Sigpipe: owners.SigpipeIgnored}
		run(2*testGrace + ownersLifetime)
		if n := outcomesOf(l)[api.Destroyed]; n != 1 {
			t.Errorf("%d were destroyed after their owner ran again", n)
		}
	})
}
