// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestOf140SocketsAboveAHundredThe40LongestIdleAreDestroyed then adds ten sockets, and ten more are destroyed.
func TestOf140SocketsAboveAHundredThe40LongestIdleAreDestroyed(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		l := ns.Listen(t, nstest.IPv4)
		var conns []nstest.Pair
		leak := func(n int) {
			for range n { // all before any is half-closed
				conns = append(conns, ns.ConnectFrom(t, "", l))
			}
			last := len(conns) - 1
			for _, p := range conns[len(conns)-n : last] {
				orphan(t, p.Client)
			}
			shut(t, conns[last])
		}
		n := newNode(t, finder)
		hundred := 100
		n.register(ns, timing(inetdiag.CloseWait, soon, func(p *policy.Policy) {
			p.Rules = []policy.Rule{{Match: policy.Match{State: inetdiag.CloseWait}, Values: policy.Values{Above: &hundred}}}
		}))
		gone := func(want int) {
			t.Helper()
			nstest.Eventually(t, patience, "those above the number are gone", func() bool {
				return states(t, ns)[inetdiag.CloseWait] <= len(conns)-want && len(n.history()) >= want
			})
			for i, p := range conns {
				_, destroyed := n.entry(p.Server, "destroyed")
				if i < 40 != destroyed && (i < 40 || i >= 140) {
					t.Errorf("socket %d of %d was destroyed: %v", i, len(conns), destroyed)
				}
			}
			nstest.Eventually(t, patience, "a hundred are spared", func() bool {
				spared := 0
				for _, v := range n.sockets(api.SocketQuery{}) {
					if v.Verdict == policy.BelowThreshold {
						spared++
					}
				}
				return spared == 100
			})
			if got := len(n.history()); got != want {
				t.Errorf("%d were destroyed", got)
			}
			answers(t, conns[len(conns)-1])
		}
		leak(40)
		nstest.Eventually(t, patience, "the reaper knows them", func() bool {
			return n.status().Candidates[inetdiag.CloseWait.String()] == 40
		})
		leak(100)
		gone(40)
		leak(10)
		gone(50)
	})
}
