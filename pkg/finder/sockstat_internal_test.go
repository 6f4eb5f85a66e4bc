// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestSockstatInUse(t *testing.T) {
	const v4 = `sockets: used 173
TCP: inuse 5 orphan 0 tw 12 alloc 7 mem 1
UDP: inuse 2 mem 0
RAW: inuse 9
`
	const v6 = "TCP6: inuse 3\nUDP6: inuse 1\nUDPLITE6: inuse 0\n"
	for name, tc := range map[string]struct {
		text, prefix string
		want         int
		ok           bool
	}{
		"IPv4":                            {v4, "TCP: ", 5, true},
		"IPv6":                            {v6, "TCP6: ", 3, true},
		"none in use":                     {"TCP: inuse 0 orphan 0\n", "TCP: ", 0, true},
		"no newline at the end":           {"TCP: inuse 4", "TCP: ", 4, true},
		"the other family's file":         {v6, "TCP: ", 0, false},
		"an empty file":                   {"", "TCP: ", 0, false},
		"a line without numbers":          {"TCP: \n", "TCP: ", 0, false},
		"a line cut off":                  {"TCP: inuse", "TCP: ", 0, false},
		"another order":                   {"TCP: orphan 0 inuse 5\n", "TCP: ", 0, false},
		"no number":                       {"TCP: inuse many\n", "TCP: ", 0, false},
		"a number too large to be one":    {"TCP: inuse 99999999999999999999\n", "TCP: ", 0, false},
		"the name inside of another line": {"MPTCP: inuse 5\n", "TCP: ", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := sockstatInUse(tc.text, tc.prefix); ok != tc.ok || ok && got != tc.want {
				t.Errorf("%d, %v, want %d, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func FuzzSockstatInUse(f *testing.F) {
	f.Add("TCP: inuse 5 orphan 0 tw 12 alloc 7 mem 1\n", "TCP: ")
	f.Add("TCP6: inuse 3\n", "TCP6: ")
	f.Add("TCP: inuse", "TCP: ")
	f.Fuzz(func(t *testing.T, text, prefix string) {
		if n, ok := sockstatInUse(text, prefix); ok && !strings.Contains(text, prefix) {
			t.Errorf("%d without the line", n)
		}
	})
}

func TestHasTCPReadsTheThreadsOwnNamespace(t *testing.T) {
	for _, network := range nstest.Networks {
		t.Run(network, func(t *testing.T) {
			ns := nstest.New(t)
			ask := func() (used bool) {
				ns.Do(t, func() { used = hasTCP() })
				return used
			}
			if ask() {
				t.Error("a new namespace has a socket")
			}
			p := ns.Connect(t, network)
			if !ask() {
				t.Error("a namespace with a connection has no socket")
			}
			for _, c := range []interface {
				SetLinger(int) error
				Close() error
			}{p.Client, p.Server} {
				_ = c.SetLinger(0)
				_ = c.Close()
			}
			nstest.Eventually(t, patience, "no socket", func() bool { return !ask() })
		})
	}
}
