// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"net"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestAboveDestroysOnlyTheSocketsIdleLongest has a rule that keeps a hundred sockets.
func TestAboveDestroysOnlyTheSocketsIdleLongest(t *testing.T) {
	const above = 100
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "pod", `{"probeAfter": "never", "rules": [{"match": {"state": "CLOSE_WAIT"}, "grace": "1s", "above": 100}]}`)
		var order []*net.TCPConn // idle longest first
		more := func(n int) {
			t.Helper()
			pairs := make([]nstest.Pair, n)
			for i := range pairs {
				pairs[i] = s.connect()
			}
			for _, p := range pairs {
				s.shut(p.Server, p.Client)
				order = append(order, p.Client)
			}
			// All of them: one that a later sweep finds is as idle as the next batch.
			r.awaitViews(order[len(order)-n:], "the reaper has looked at them", func(v api.SocketView) bool { return v.Verdict != policy.Unknown })
		}
		destroyed := func(gone int) {
			t.Helper()
			nstest.Eventually(t, patience, "the excess is destroyed", func() bool { return len(r.entries()) >= gone })
			entries := r.entries()
			for _, c := range order[:gone] {
				if _, ok := entryOf(entries, c, api.Destroyed); !ok {
					t.Errorf("%v is not destroyed", c.LocalAddr())
				}
			}
			r.awaitViews(order[gone:], "the others are below the threshold", func(v api.SocketView) bool { return v.Verdict == policy.BelowThreshold })
			r.untouched(closeWait, order[gone:]...)
		}
		more(40)
		more(10) // a batch of its own: among equally idle sockets the cookie would decide
		more(above - 10)
		destroyed(40)
		more(10)
		destroyed(50)
		// A second later all others still exist.
		elapsed(t, time.Now(), time.Second)
		destroyed(50)
		if n := len(r.entries()); n != 50 {
			t.Errorf("the history has %d entries, want 50", n)
		}
	})
}
