// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Addresses that the namespaces of these tests have on their loopback link beside its own.
const (
	inNet    = "198.51.100.1" // of TEST-NET-2
	outOfNet = "203.0.113.1"  // of TEST-NET-3
)

// aliased creates a namespace with these addresses.
func aliased(t *testing.T) *nstest.NS {
	t.Helper()
	ns := newNS(t)
	ns.AddAddress(t, "lo", inNet+"/32")
	ns.AddAddress(t, "lo", outOfNet+"/32")
	return ns
}

// exempting adds exemptions, written as in a conflist.
func exempting(t *testing.T, text string) func(*policy.Policy) {
	t.Helper()
	var list []policy.Match
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	return func(p *policy.Policy) { p.Exempt = list }
}

func TestExemptSocketsAreSpared(t *testing.T) {
	from := func(local, listen string) func(*testing.T, *nstest.NS) nstest.Pair {
		return func(t *testing.T, ns *nstest.NS) nstest.Pair {
			l := ns.ListenAt(t, listen)
			defer l.Close()
			return ns.ConnectFrom(t, local, l)
		}
	}
	over := func(network string) func(*testing.T, *nstest.NS) nstest.Pair {
		return func(t *testing.T, ns *nstest.NS) nstest.Pair { return ns.Connect(t, network) }
	}
	eachFinder(t, func(t *testing.T, finder string) {
		all := newNode(t, finder)
		for name, tc := range map[string]struct {
			exempt          string
			state           inetdiag.State
			matches, others func(*testing.T, *nstest.NS) nstest.Pair
			why             string
		}{
			"by local port": {
				`[{"localPorts": "22,8000-8999"}]`, inetdiag.CloseWait, from("", "127.0.0.1:8022"), from("", "127.0.0.1:9000"), "8000-8999",
			},
			"by the peer's port": {
				`[{"peerPorts": "5432"}]`, inetdiag.FinWait2, from("", "127.0.0.1:5432"), from("", "127.0.0.1:5433"), "5432",
			},
			"by the peer's address": {
				`[{"peers": "198.51.100.0/24"}]`, inetdiag.CloseWait, from(inNet, inNet+":0"), from(outOfNet, outOfNet+":0"), "198.51.100.0/24",
			},
			"by the peer's address on a v4-mapped socket": {
				`[{"peers": "127.0.0.0/8"}]`, inetdiag.CloseWait, over(nstest.Mapped), from(outOfNet, outOfNet+":0"), "127.0.0.0/8",
			},
			"by the peer's address over IPv6": {
				`[{"peers": "::1/128"}]`, inetdiag.CloseWait, over(nstest.IPv6), over(nstest.IPv4), "::1",
			},
			"by a peer on the loopback": {
				`[{"loopback": true}]`, inetdiag.CloseWait, over(nstest.IPv4), from(outOfNet, outOfNet+":0"), "loopback",
			},
			"by all keys of an entry together": {
				`[{"loopback": true, "localPorts": "8022"}]`, inetdiag.CloseWait, from("", "127.0.0.1:8022"), from(outOfNet, outOfNet+":8022"), "8022",
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns, n := aliased(t), all.of(t)
				survivor := shut(t, tc.matches(t, ns))
				conn := end(survivor, tc.state)
				n.register(ns, timing(tc.state, soon, exempting(t, tc.exempt)))
				for range 2 {
					other := tc.others(t, ns)
					n.awaitDestroyed(end(shut(t, other), tc.state))
					closeAll(t, other.Client, other.Server) // so that the next test can use the port
				}
				n.stillSpared(conn, api.SocketQuery{}, policy.Exempted)
				if v, _ := n.find(conn, api.SocketQuery{}); !strings.Contains(v.Why, tc.why) || v.Deadline != nil {
					t.Errorf("listed with deadline %v and why %q, want none and %q", v.Deadline, v.Why, tc.why)
				}
				answers(t, survivor)
			})
		}
	})
}

func closeAll(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
