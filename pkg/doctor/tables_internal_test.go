// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"testing"
	"time"
)

// everyMinute returns the sweep intervals of n namespaces.
func everyMinute(n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Minute
	}
	return all
}

func TestTheCostOfSweepsIsReported(t *testing.T) {
	full := tables{ofHost: true, newNS: true, buckets: 262144, sockets: 108000, walk: 15500 * time.Microsecond, childWalk: 20 * time.Microsecond}
	for _, tt := range []struct {
		name      string
		change    func(*tables)
		intervals []time.Duration
		want      want
	}{
		{"a full node", func(*tables) {}, everyMinute(250), want{
			level: Warn,
			what:  "all namespaces share one connection table of 262144 buckets, so each sweep costs 15.5ms of CPU with the node's current 108000 TCP sockets. Sweeping the 250 registered namespaces once costs 3.88s; at the intervals that the graces require that is 6.5% of a core, above the 2% of --cpu-budget",
			do:    "net.ipv4.tcp_child_ehash_entries=4096 on the host (sysctl -w, and in /etc/sysctl.d): namespaces created from then on have their own table of 32 KiB, and the same sweeps cost less than 0.01% of a core, as measured here in an empty one",
		}},
		{"a few namespaces", func(*tables) {}, everyMinute(10), want{level: Info, what: "that is 0.26% of a core"}},
		{"one", func(*tables) {}, []time.Duration{time.Second}, want{level: Info, what: "Sweeping the 1 registered namespace once costs 15.5ms"}},
		{"a few with short graces", func(*tables) {}, []time.Duration{time.Second, time.Second}, want{level: Warn, what: "the 2 registered namespaces once costs 31ms; at the intervals that the graces require that is 3.1% of a core"}},
		{"none yet", func(*tables) {}, nil, want{level: Warn, what: "250 namespaces with the default grace once would cost 3.88s"}},
		{"tables that could not be measured", func(c *tables) { c.childWalk = 0 }, everyMinute(250), want{level: Warn, do: "0.1% of a core, estimated from the number of buckets"}},
		{"a table of unknown size", func(c *tables) { c.childWalk, c.buckets = 0, 0 }, everyMinute(1), want{level: Info, what: "share one connection table, so each sweep", do: "of 32 KiB; existing pods"}},
		{"not on the host", func(c *tables) { c.ofHost = false }, everyMinute(250), want{level: Warn, do: "not visible from here"}},
		{"an old kernel", func(c *tables) { c.child = -1 }, everyMinute(250), want{level: Warn, do: "Linux 6.1"}},
		{"set already", func(c *tables) { c.child, c.walk = 4096, 20*time.Microsecond }, everyMinute(250), want{level: OK, what: "their own connection table (net.ipv4.tcp_child_ehash_entries is 4096): a sweep of an empty one costs 20µs of CPU"}},
		{"set already, not measured", func(c *tables) { c.child, c.newNS = 4096, false }, everyMinute(250), want{level: OK, what: "(net.ipv4.tcp_child_ehash_entries is 4096)"}},
		{"no sock_diag", func(c *tables) { c.err = errors.New("no such file") }, nil, want{level: Warn, what: "could not be measured: no such file", do: "sock-destroy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := full
			tt.change(&c)
			tt.want.check = "child-tables"
			expect(t, reportTables(c, tt.intervals), tt.want)
		})
	}
}

func TestTheSocketsOfAllNamespacesAreCounted(t *testing.T) {
	for text, want := range map[string]int{
		"sockets: used 300\nTCP: inuse 5 orphan 0 tw 1 alloc 108013 mem 4\nUDP: inuse 2 mem 0\n": 108013,
		"UDP: inuse 2 alloc 9\n": 0, "TCP: inuse 5 orphan 0\n": 0, "TCP: alloc\n": 0, "TCP: alloc x\n": 0, "TCP: \n": 0, "": 0,
	} {
		if got := parseAlloc(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestDurationsHaveThreeSignificantDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 7: "7ns", 145678: "146µs", 15512345: "15.5ms", 3876 * time.Millisecond: "3.88s", 2*time.Minute + 1: "2m0s",
	} {
		if got := roundDuration(d).String(); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}
