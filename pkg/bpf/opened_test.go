// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

// TestProgramsReportWhichSideOpenedAConnection has both ends of each connection in one network namespace.
func TestProgramsReportWhichSideOpenedAConnection(t *testing.T) {
	p := load(t, bpf.Options{})
	for _, o := range nstest.Openings {
		t.Run(o.Name, func(t *testing.T) {
			sometime(t, func(t *testing.T) string {
				at := newNetns(t)
				watch(t, p, at)
				client, server := o.Make(t, at.NS)
				before := len(at.sockets(t))
				if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
					t.Fatal(err)
				}
				nstest.Eventually(t, patience, "both ends half-closed", func() bool { return len(at.sockets(t)) == before+2 })
				want := map[uint64]bpf.Opened{nstest.CookieOf(t, client): bpf.OpenedHere, nstest.CookieOf(t, server): bpf.OpenedByPeer}
				if o.Bound {
					want[nstest.CookieOf(t, client)] = bpf.OpenedUnknown
				}
				set, walked := entries(t, p), walk(t, p)
				for cookie, opened := range want {
					if len(walked[cookie]) != 1 || walked[cookie][0].Opened != opened {
						t.Errorf("the walk reports %v, want opened %d", walked[cookie], opened)
					}
					s, ok := set[cookie]
					if !ok {
						return "the kernel skipped the program"
					}
					if s.Opened != opened {
						t.Errorf("the set has opened %d for %v, want %d", s.Opened, s.ID, opened)
					}
				}
				return ""
			})
		})
	}
}

// TestNoOptionMakesAClientLookAccepted tries the options that, on a datagram socket, set the field by which the programs
// recognise an accepted socket.
func TestNoOptionMakesAClientLookAccepted(t *testing.T) {
	ns := nstest.New(t)
	v4, v6 := ns.Socket(t, unix.AF_INET), ns.Socket(t, unix.AF_INET6)
	loopback := &unix.IPMreqn{Ifindex: 1}
	for name, err := range map[string]error{
		"IP_MULTICAST_IF":             unix.SetsockoptIPMreqn(v4, unix.SOL_IP, unix.IP_MULTICAST_IF, loopback),
		"IP_MULTICAST_IF of IPv6":     unix.SetsockoptIPMreqn(v6, unix.SOL_IP, unix.IP_MULTICAST_IF, loopback),
		"IPV6_MULTICAST_IF":           unix.SetsockoptInt(v6, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, 1),
		"IPV6_MULTICAST_IF over IPv4": unix.SetsockoptInt(v4, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, 1),
	} {
		if err == nil {
			t.Errorf("a stream socket accepts %s", name)
		}
	}
}
