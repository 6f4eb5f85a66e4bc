// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"testing"

	"github.com/halfclose/halfclose/test/node"
)

// scenarios run on every runtime, in this order: the last ones change state that the first ones need.
func scenarios() []scenario {
	return []scenario{
		{"a leak is destroyed after its grace and what is in order is left", leakIsDestroyed},
		{"annotations change the policy of one pod where the runtime passes them on", annotationsChangeThePolicy},
		{"plugins are called as documented", callsAreAsDocumented},
		{"a pod that is removed leaves nothing", removedPodLeavesNothing},
		{"an ADD that fails behind halfclose leaves nothing", failedAddLeavesNothing},
		{"the reaper restarts under running pods", reaperRestarts},
		{"the runtime restarts under running pods", runtimeRestarts},
		{"a container that ctr detaches from is forgotten without a DEL", detachedIsForgotten},
		{"CHECK repairs a record", checkRepairs},
		{"GC removes what is not valid and nothing else", gcRemoves},
		{"STATUS fails only where every ADD would", statusFails},
		{"halfclose is uninstalled and installed under running pods", uninstalledAndInstalled},
		{"a binary that is listed and missing fails pods until it is back", missingBinaryFails},
		{"a conflist of a newer version than the runtime knows fails pods", newerVersionFails},
		{"the project's own image loads and runs", ownImageRuns},
		{"a drop-in is loaded where the runtime has libcni 1.3", dropInIsLoaded},
	}
}

// scenario is a test on a runtime. It also asserts which sockets survive.
type scenario struct {
	name string
	play func(*testing.T, *site)
}

func TestScenarios(t *testing.T) {
	node.Need(t)
	for _, tr := range known() {
		if tr.name != os.Getenv(runtimeVar) {
			continue
		}
		s := newSite(t, tr)
		for _, sc := range scenarios() {
			t.Run(sc.name, func(t *testing.T) { sc.play(t, s.in(t)) })
		}
		return
	}
	t.Fatalf("%s=%s: there is no such runtime: run make e2e", runtimeVar, os.Getenv(runtimeVar))
}
