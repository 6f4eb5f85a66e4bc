// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// overdue creates a number of sockets in CLOSE_WAIT in each of some namespaces, registers these, and waits until all
// sockets are past their grace and only the switch prevents their destruction.
func overdue(t *testing.T, n *node, namespaces, sockets int) {
	t.Helper()
	n.turn(policy.Observe)
	for range namespaces {
		ns := newNS(t)
		for range sockets {
			shut(t, ns.Connect(t, nstest.IPv4))
		}
		n.register(ns, timing(inetdiag.CloseWait, soon))
	}
	nstest.Eventually(t, patience, "all are past their grace", func() bool { return len(n.history()) == namespaces*sockets })
}

// destroyedEntries returns the history without the observed sockets.
func (n *node) destroyedEntries() (list []api.Entry) {
	for _, e := range n.history() {
		if e.Outcome == "destroyed" {
			list = append(list, e)
		}
	}
	return list
}

func TestBudgetLimitsTheNodeAndIsSharedInRotation(t *testing.T) {
	const perSecond, namespaces, sockets, enough = 5, 3, 20, 18
	eachFinder(t, func(t *testing.T, finder string) {
		n := newNode(t, finder, func(c *reaper.Config) { c.MaxDestroysPerSecond = perSecond })
		overdue(t, n, namespaces, sockets)
		n.turn(policy.Destroy)

		// Waiting sockets are counted, and reported with the reason.
		nstest.Eventually(t, patience, "most wait", func() bool {
			b := n.status().Budget
			return b.PerSecond == perSecond && b.Waiting > (namespaces-1)*sockets
		})
		waiting := 0
		for _, v := range n.sockets(api.SocketQuery{}) {
			if strings.Contains(v.Why, "waiting for --max-destroys-per-second") {
				waiting++
			}
		}
		if waiting <= (namespaces-1)*sockets {
			t.Errorf("%d sockets are listed as waiting", waiting)
		}

		// The namespaces take turns once all have waiting sockets. Until then one namespace may have used the whole
		// budget at its first look.
		began := len(n.destroyedEntries())
		nstest.Eventually(t, patience, "some are destroyed", func() bool {
			n.leap(100 * time.Millisecond)
			return len(n.destroyedEntries()) >= began+enough
		})
		entries := n.destroyedEntries()
		share := make(map[string]int)
		for i, e := range entries {
			if first := i - perSecond; first >= 0 && e.Time.Sub(entries[first].Time) < time.Second {
				t.Errorf("%d were destroyed within %v", perSecond+1, e.Time.Sub(entries[first].Time))
			}
			if i < began {
				continue
			}
			share[e.ContainerID]++
			for id, count := range share {
				if share[e.ContainerID] > count+2 {
					t.Errorf("after %d, %s has had %d and %s %d", i+1, e.ContainerID, share[e.ContainerID], id, count)
				}
			}
		}
		if len(share) != namespaces {
			t.Errorf("%d were of %d namespaces: %v", len(entries)-began, len(share), share)
		}
	})
}

func TestWithoutABudgetNothingWaits(t *testing.T) {
	const namespaces, sockets = 2, 20
	eachFinder(t, func(t *testing.T, finder string) {
		n := newNode(t, finder)
		overdue(t, n, namespaces, sockets)
		n.turn(policy.Destroy)
		nstest.Eventually(t, patience, "all are destroyed", func() bool {
			if b := n.status().Budget; b.Waiting != 0 || b.PerSecond != 0 {
				t.Errorf("%d wait for a budget of %d", b.Waiting, b.PerSecond)
			}
			return len(n.destroyedEntries()) == namespaces*sockets
		})
	})
}

// TestSocketsThatWaitForTheBudgetAreExaminedAgain has sockets become busy while they wait.
func TestSocketsThatWaitForTheBudgetAreExaminedAgain(t *testing.T) {
	const sockets = 12
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, func(c *reaper.Config) { c.MaxDestroysPerSecond = 1 })
		n.turn(policy.Observe)
		n.register(ns, timing(inetdiag.CloseWait, lenient))
		pairs := make([]nstest.Pair, sockets)
		for i := range pairs {
			pairs[i] = shut(t, ns.Connect(t, nstest.IPv4))
		}
		for _, p := range pairs {
			n.awaitKnown(p.Server)
		}
		n.leap(lenient)
		for _, p := range pairs {
			n.awaitEntry(p.Server, "would-destroy")
		}
		n.turn(policy.Destroy)
		nstest.Eventually(t, patience, "most wait", func() bool { return n.status().Budget.Waiting >= sockets-2 })
		var busy []nstest.Pair
		for _, p := range pairs[2:] {
			if sent(p.Server) == nil { // otherwise it has just been destroyed
				busy = append(busy, p)
			}
		}
		if len(busy) < sockets/2 {
			t.Fatalf("only %d of %d sockets are left", len(busy), sockets)
		}
		// Each has a full grace from now on, which the reaper notices at its next look.
		nstest.Eventually(t, patience, "none waits", func() bool {
			n.leap(time.Second)
			return n.status().Budget.Waiting == 0
		})
		for _, p := range busy {
			if e, ok := n.entry(p.Server, "destroyed"); ok && time.Duration(e.Idle) < lenient {
				t.Errorf("destroyed %v after it was last busy", time.Duration(e.Idle))
			}
		}
	})
}
