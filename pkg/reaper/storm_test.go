// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// raging is the duration of a test's storm.
const raging = time.Second

// both is a policy with the same grace for both states.
func both(grace time.Duration) policy.Policy {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Patience(grace), policy.Patience(grace), policy.Never
	return p
}

// makeNamespaces creates n namespaces.
func makeNamespaces(tb testing.TB, n int) []*nstest.NS {
	tb.Helper()
	all := make([]*nstest.NS, n)
	for i := range all {
		all[i] = newNS(tb)
	}
	return all
}

// differs returns how the reaper's candidates differ from the kernel's half-closed sockets that a process owns, "" if they
// do not.
func (n *node) differs(namespaces ...*nstest.NS) string {
	n.tb.Helper()
	known := make(map[uint64]bool)
	for _, v := range n.sockets(api.SocketQuery{}) {
		if v.Inode != 0 {
			known[v.Cookie] = true
		}
	}
	missing := 0
	for _, ns := range namespaces {
		for cookie, s := range kernelSockets(n.tb, ns) {
			if !s.State.HalfClosed() || s.Inode == 0 {
				continue
			}
			if !known[cookie] {
				missing++
			}
			delete(known, cookie)
		}
	}
	if missing+len(known) == 0 {
		return ""
	}
	return fmt.Sprintf("%d half-closed sockets are not known, and %d known ones are none (%v)", missing, len(known), slices.Collect(maps.Keys(known))[:min(3, len(known))])
}

// awaitEqual waits until the reaper's candidates equal the kernel's sockets.
func (n *node) awaitEqual(namespaces ...*nstest.NS) {
	n.tb.Helper()
	from, last := time.Now(), ""
	defer func() {
		if last != "" {
			n.tb.Log(last)
		}
	}()
	nstest.Eventually(n.tb, patience, "the reaper knows what the kernel does", func() bool {
		last = n.differs(namespaces...)
		return last == ""
	})
	s := n.status()
	n.tb.Logf("the same set after %v: %v, %d missed at first", time.Since(from), s.Candidates, s.Finder.Missed)
}

func TestCandidatesMatchTheKernelAfterAStorm(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		all := makeNamespaces(t, 8)
		n := newNode(t, finder, often)
		for _, ns := range all {
			n.register(ns, both(time.Hour))
		}
		stop := make(chan struct{})
		time.AfterFunc(raging, func() { close(stop) })
		made := nstest.Storm{Keep: 20}.Run(t, stop, all...)
		n.awaitEqual(all...)
		s := n.status()
		t.Logf("%d connections; the finder says %+v", made, s.Finder)
		if s.Finder.Name != finder || len(s.Counts.Destroyed) > 0 {
			t.Errorf("the finder is %s, destroyed were %v", s.Finder.Name, s.Counts.Destroyed)
		}
	})
}

// TestNoSocketIsDestroyedEarlyInAStorm lets graces end continuously. The storm checks that no socket with a shorter
// half-closed time is destroyed.
func TestNoSocketIsDestroyedEarlyInAStorm(t *testing.T) {
	const grace = 300 * time.Millisecond
	eachFinder(t, func(t *testing.T, finder string) {
		all := makeNamespaces(t, 4)
		n := newNode(t, finder)
		for _, ns := range all {
			n.register(ns, both(grace))
		}
		stop := make(chan struct{})
		time.AfterFunc(raging, func() { close(stop) })
		made := nstest.Storm{Grace: grace, Keep: 20}.Run(t, stop, all...)
		nstest.Eventually(t, patience, "all that was kept is destroyed", func() bool {
			for _, ns := range all {
				if now := states(t, ns); now[inetdiag.CloseWait]+now[inetdiag.FinWait2] > 0 {
					return false
				}
			}
			return true
		})
		t.Logf("%d connections; destroyed were %v", made, n.status().Counts.Destroyed)
		for _, e := range n.history() {
			if time.Duration(e.Age) < grace || time.Duration(e.Idle) < grace {
				t.Errorf("destroyed before its time: %+v", e)
			}
		}
	})
}

func TestRegistrationUnderLoadFindsAllSockets(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		all := makeNamespaces(t, 6)
		n := newNode(t, finder, often)
		records := make([]state.Record, len(all))
		for i, ns := range all {
			records[i] = n.record(ns, both(time.Hour))
		}
		stop := make(chan struct{})
		time.AfterFunc(raging, func() { close(stop) })
		var wg sync.WaitGroup
		wg.Go(func() { nstest.Storm{Keep: 20}.Run(t, stop, all...) })
		for i := 0; ; i++ {
			r := records[i%len(records)]
			if err := n.store.Put(r); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
			case <-time.After(20 * time.Millisecond):
				if i%3 > 0 {
					if err := n.store.Delete(r.Attachment); err != nil {
						t.Error(err)
					}
				}
				continue
			}
			break
		}
		wg.Wait()
		for _, r := range records {
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}
		n.awaitEqual(all...)
		for _, r := range records[:3] {
			if err := n.store.Delete(r.Attachment); err != nil {
				t.Fatal(err)
			}
		}
		n.awaitEqual(all[3:]...)
		if s := n.status(); len(s.Counts.Destroyed) > 0 {
			t.Errorf("destroyed were %v", s.Counts.Destroyed)
		}
	})
}
