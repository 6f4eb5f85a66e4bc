// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// options are the options of a socket that asking its peer changes, or could.
type options struct {
	Keepalive, Idle, Interval, Count, UserTimeout, Error int
	Linger                                               unix.Linger
}

func optionsOf(t *testing.T, conn *net.TCPConn) (o options) {
	t.Helper()
	rawFD(t, conn, func(fd int) error {
		for _, opt := range []struct {
			level, name int
			to          *int
		}{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, &o.Keepalive},
			{unix.SOL_SOCKET, unix.SO_ERROR, &o.Error},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &o.Idle},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &o.Interval},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &o.Count},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, &o.UserTimeout},
		} {
			value, err := unix.GetsockoptInt(fd, opt.level, opt.name)
			if err != nil {
				return err
			}
			*opt.to = value
		}
		linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
		if err == nil {
			o.Linger = *linger
		}
		return err
	})
	return o
}

// TestObserveChangesNoOptionOfAnySocket lets five days pass, with a look every half hour. In that time mode destroy
// would have asked every peer and destroyed every socket.
func TestObserveChangesNoOptionOfAnySocket(t *testing.T) {
	const looks, each = 240, 30 * time.Minute
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		change, begin := asks(t)
		n := offNode(t)
		n.leastWalk = 0
		n.start(finder, change, impatient)
		begin(n.Reaper)
		p := policy.Default()
		p.Mode, p.ProbeAfter = policy.Observe, policy.Patience(time.Hour)
		p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(10*time.Hour), policy.Patience(20*time.Hour)
		r := n.register(ns, p)

		plain, kept, timed := ns.Connect(t, nstest.IPv4), ns.Connect(t, nstest.IPv6), ns.Connect(t, nstest.Mapped)
		config := net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 7 * time.Second, Count: 3}
		check(t, "the owner's keepalive", kept.Server.SetKeepAliveConfig(config), nil)
		check(t, "the owner's linger", timed.Server.SetLinger(0), nil)
		rawFD(t, timed.Client, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000) })
		whole := ns.Connect(t, nstest.IPv4) // is not half-closed
		conns := []*net.TCPConn{whole.Client, whole.Server}
		for _, pair := range []nstest.Pair{plain, kept, timed} {
			shut(t, pair)
			n.awaitKnown(pair.Client)
			n.awaitKnown(pair.Server)
			conns = append(conns, pair.Client, pair.Server)
		}
		before := make([]options, len(conns))
		for i, c := range conns {
			before[i] = optionsOf(t, c)
		}
		for look := range looks {
			n.clock.skip(each)
			n.awaitSweeps(1)
			if look == 3 { // after two hours; the owners may be looked up later than the next of these leaps
				nstest.Eventually(t, patience, "all questions are counted", func() bool { return n.status().Counts.WouldAsk == 6 })
			}
			for i, c := range conns {
				if diff := cmp.Diff(before[i], optionsOf(t, c)); diff != "" {
					t.Fatalf("socket %d after look %d (-want +got):\n%s", i, look+1, diff)
				}
			}
		}
		nstest.Eventually(t, patience, "all that would be done is counted", func() bool {
			c := n.status().Counts
			return c.WouldAsk == 6 && c.WouldDestroy[inetdiag.CloseWait] == 3 && c.WouldDestroy[inetdiag.FinWait2] == 3
		})
		n.awaitSweeps(2)
		s := n.status()
		if s.Counts.WouldAsk != 6 || s.Counts.PeerGone != 0 || len(s.Counts.Destroyed) != 0 {
			t.Errorf("counted are %+v", s.Counts)
		}
		if a, ok := n.attachment(r.Attachment); !ok || a.WouldDestroy != 6 || a.Destroyed != 0 {
			t.Errorf("of the attachment the status says %+v", a)
		}
		for _, pair := range []nstest.Pair{plain, kept, timed} {
			for _, conn := range []*net.TCPConn{pair.Client, pair.Server} {
				if got := n.outcomes(cookieOf(t, conn)); len(got) != 1 || got[api.WouldDestroy] != 1 {
					t.Errorf("the history has %v of a socket", got)
				}
			}
			answers(t, pair)
		}
		alive(t, whole)
	})
}
