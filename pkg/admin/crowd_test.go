// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// A full node: network namespaces, and half-closed sockets in each.
const (
	crowdNamespaces = 250
	crowdSockets    = 200
)

// newCrowd returns a finder that reports crowdSockets sockets in each network namespace, once.
func newCrowd() *finder.Fake {
	seen := make(map[netns.Identity]bool)
	return finder.NewFake("crowd", func(set []finder.Netns, sink finder.Sink) {
		began := monotime.Fake{}.Now()
		for _, n := range set {
			if !seen[n.Identity] {
				seen[n.Identity] = true
				sink.Seen(leaks(n.Identity))
				sink.Swept(finder.Sweep{Netns: []netns.Identity{n.Identity}, Began: began})
			}
		}
	})
}

// leaks returns sockets in CLOSE_WAIT, of different ages below 10 minutes.
func leaks(id netns.Identity) []finder.Seen {
	list := make([]finder.Seen, 0, crowdSockets)
	for i := range uint64(crowdSockets) {
		s := inetdiag.Socket{
			ID: inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("10.244.17.23:8080"),
				netip.AddrPortFrom(netip.MustParseAddr("10.244.3.7"), uint16(32768+i)), 0, id.Inode<<16+i+1),
			State: inetdiag.CloseWait, Inode: uint32(i + 1), HasInfo: true,
		}
		s.Info.LastAckRecv = time.Duration(i) * time.Second
		list = append(list, finder.Seen{Netns: id, Socket: s, At: monotime.Fake{}.Now()})
	}
	return list
}

// crowdedNode returns a node with real network namespaces, and crowdSockets fake half-closed sockets in each.
func crowdedNode(tb testing.TB, namespaces int, change ...func(*reaper.Config)) *node {
	tb.Helper()
	n := newNode(tb, append(change, func(c *reaper.Config) { c.Finder = newCrowd() })...)
	for i := range namespaces {
		pod := state.Pod{Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("web-7d4b9c6f5d-%05d", i)}
		n.register(nstest.New(tb), pod, grace(10*time.Minute, 10*time.Minute), func(r *state.Record) {
			r.ContainerID = fmt.Sprintf("%064x", i)
		})
	}
	n.awaitSockets("CLOSE_WAIT", float64(namespaces*crowdSockets))
	return n
}
