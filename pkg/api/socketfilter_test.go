// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestAPeerMatchesByAddressRangeAndPort(t *testing.T) {
	for text, cases := range map[string]map[string]bool{
		"10.0.0.7":              {"10.0.0.7:1": true, "10.0.0.8:1": false, "[::ffff:10.0.0.7]:1": true},
		"10.0.0.9/24":           {"10.0.0.7:1": true, "10.0.1.7:1": false, "[::ffff:10.0.0.7]:1": true, "[fd00::1]:1": false},
		"10.0.0.7:443":          {"10.0.0.7:443": true, "10.0.0.7:444": false},
		"[fd00::7]:443":         {"[fd00::7]:443": true, "[fd00::7]:1": false},
		"fd00::/16":             {"[fd00::7]:443": true, "10.0.0.7:443": false},
		"::ffff:10.0.0.0/104":   {"10.0.0.7:443": true, "11.0.0.7:443": false},
		"::ffff:10.0.0.7":       {"10.0.0.7:443": true},
		"[::ffff:10.0.0.7]:443": {"10.0.0.7:443": true, "10.0.0.7:1": false},
	} {
		m, err := api.ParsePeer(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for peer, want := range cases {
			if got := m.Matches(netip.MustParseAddrPort(peer)); got != want {
				t.Errorf("%s matches %s: %v", text, peer, got)
			}
		}
	}
	for _, text := range []string{"", "web", "10.0.0", "10.0.0.7:0", "10.0.0.7:http", ":443", "10.0.0.0/33", "fe80::1%eth0", "[fe80::1%eth0]:1", "::ffff:0:0/90"} {
		if m, err := api.ParsePeer(text); err == nil {
			t.Errorf("%q is parsed as %v", text, m)
		}
	}
}

func FuzzAPeerThatIsParsedRoundTrips(f *testing.F) {
	for _, text := range []string{"10.0.0.7", "10.0.0.0/8", "10.0.0.7:443", "[fd00::7]:443", "::/0", "::ffff:1.2.3.4/128", "fe80::1%a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := api.ParsePeer(text)
		if err != nil {
			return
		}
		if again, err := api.ParsePeer(m.String()); err != nil || again != m {
			t.Errorf("%q is %q, which is %q: %v", text, m, again, err)
		}
	})
}

func TestAFilterSelectsSockets(t *testing.T) {
	ago := api.Seconds(10 * time.Minute)
	v := api.SocketView{Local: "10.0.0.2:8080", Peer: "10.0.0.7:443", Age: &ago}
	peer := func(text string) api.PeerMatch {
		m, err := api.ParsePeer(text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, tc := range map[string]struct {
		filter api.SocketFilter
		want   bool
	}{
		"no filter":             {api.SocketFilter{}, true},
		"its peer":              {api.SocketFilter{Peer: peer("10.0.0.7")}, true},
		"its own address":       {api.SocketFilter{Peer: peer("10.0.0.2")}, false},
		"either end, its own":   {api.SocketFilter{Address: peer("10.0.0.2:8080")}, true},
		"either end, another":   {api.SocketFilter{Address: peer("10.0.0.2:443")}, false},
		"a local port":          {api.SocketFilter{Port: 8080}, true},
		"a port of the peer":    {api.SocketFilter{Port: 443}, true},
		"another port":          {api.SocketFilter{Port: 80}, false},
		"a wrong local port":    {api.SocketFilter{LocalPort: 443}, false},
		"a wrong port of peers": {api.SocketFilter{PeerPort: 8080}, false},
		"as old":                {api.SocketFilter{OlderThan: 10 * time.Minute}, true},
		"older":                 {api.SocketFilter{OlderThan: 11 * time.Minute}, false},
	} {
		q := api.SocketQuery{SocketFilter: tc.filter}
		if got := q.Wants(&v); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if f := (api.SocketFilter{OlderThan: 1}); (&api.SocketQuery{SocketFilter: f}).Wants(&api.SocketView{Local: v.Local, Peer: v.Peer}) {
		t.Error("a socket of unknown age is older than 1ns")
	}
	list := []owners.Process{{PID: 812, Command: "java"}, {PID: 9, Command: "sidecar"}}
	for owner, want := range map[string]bool{"": true, "java": true, "812": true, "sidecar": true, "jav": false, "81": false} {
		if got := (&api.SocketFilter{Owner: owner}).SelectsOwner(list); got != want {
			t.Errorf("owner %q: %v", owner, got)
		}
	}
}
