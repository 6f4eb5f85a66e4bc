// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// leaksOf returns the groups of a query.
func (n *node) leaksOf(q api.LeakQuery) api.LeakList {
	n.tb.Helper()
	list, err := n.Leaks(n.tb.Context(), q)
	if err != nil || len(list.Problems) > 0 {
		n.tb.Fatalf("group leaks: %v %v", err, list.Problems)
	}
	return list
}

// TestEqualLeaksAreOneGroup has 12 sockets of one listener in CLOSE_WAIT, of which two are of another pod.
func TestEqualLeaksAreOneGroup(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		shop, other := newNS(t), newNS(t)
		listener := shop.Listen(t, nstest.IPv4)
		port := listener.Addr().(*net.TCPAddr).Port
		for range 10 {
			conn := shop.Dial(t, nstest.IPv4, port)
			accepted, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { accepted.Close() })
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		shut(t, other.Connect(t, nstest.IPv4))
		shut(t, other.Connect(t, nstest.IPv4))
		n := newNode(t, finder, findsOwners)
		rec := n.register(shop, short(observe))
		n.register(other, timing(inetdiag.CloseWait, time.Hour))
		state := api.LeakQuery{State: inetdiag.CloseWait}
		var list api.LeakList
		nstest.Eventually(t, patience, "all are past their grace", func() bool {
			list = n.leaksOf(state)
			return list.Sockets == 10 && list.Young == 2
		})
		if len(list.Groups) != 1 {
			t.Fatalf("%d groups: %+v", len(list.Groups), list.Groups)
		}
		g := list.Groups[0]
		if g.Pod != rec.Pod || g.Sockets != 10 || g.Verdicts[policy.WouldDestroy.String()] != 10 || g.Local != listener.Addr().String() ||
			g.OwnerCount != 1 || g.Owners[0].PID != os.Getpid() {
			t.Errorf("the group is %+v", g)
		}
		all := state
		all.All = true
		if got := n.leaksOf(all); got.Sockets != 12 || got.Young != 0 {
			t.Errorf("of all sockets: %d leaks and %d young ones", got.Sockets, got.Young)
		}
		for name, q := range map[string]api.LeakQuery{
			"the other pod":  {State: inetdiag.CloseWait, PodQuery: api.PodQuery{Pod: "nowhere"}},
			"another owner":  {State: inetdiag.CloseWait, SocketFilter: api.SocketFilter{Owner: "1"}},
			"larger groups":  {State: inetdiag.CloseWait, Min: 11},
			"another port":   {State: inetdiag.CloseWait, SocketFilter: api.SocketFilter{LocalPort: 1}},
			"destroyed ones": {State: inetdiag.CloseWait, Verdict: new(policy.Destroyable)},
			"of great age":   {State: inetdiag.CloseWait, SocketFilter: api.SocketFilter{OlderThan: 24 * time.Hour}},
		} {
			if got := n.leaksOf(q); len(got.Groups) != 0 {
				t.Errorf("%s: got %+v", name, got.Groups)
			}
		}
		// An observed socket past its grace has one name everywhere, and is not listed as destroyed.
		if got := n.sockets(api.SocketQuery{Verdict: new(policy.Destroyable)}); len(got) != 0 {
			t.Errorf("--verdict destroy lists %+v", got)
		}
		if got := n.sockets(api.SocketQuery{State: inetdiag.CloseWait, Verdict: new(policy.WouldDestroy), SocketFilter: api.SocketFilter{Port: uint16(port)}}); len(got) != 10 {
			t.Errorf("--verdict would-destroy lists %d sockets", len(got))
		}
		if got := n.sockets(api.SocketQuery{State: inetdiag.CloseWait, SocketFilter: api.SocketFilter{Owner: "1"}}); len(got) != 0 {
			t.Errorf("--owner 1 lists %+v", got)
		}
	})
}
