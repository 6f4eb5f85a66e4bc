// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// tick is the kernel's longest tick: a time in tcp_info may be that much too early.
const tick = 10 * time.Millisecond

// endless is a grace longer than any test. It spares the socket but, unlike policy.Never, not the other end of its
// connection.
const endless = policy.Patience(10_000 * time.Hour)

// timing is a policy with a grace for one state. Sockets in the other state, which are the peers, are not destroyed.
func timing(st inetdiag.State, grace time.Duration, change ...func(*policy.Policy)) policy.Policy {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter, p.PendingGrace = endless, endless, policy.Never, endless
	if st == inetdiag.CloseWait {
		p.CloseWaitGrace = policy.Patience(grace)
	} else {
		p.FinWait2Grace = policy.Patience(grace)
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func pendingDestroy(p *policy.Policy) { p.PendingGrace = policy.Patience(time.Millisecond) }
func clockState(p *policy.Policy)     { p.Clock = policy.ClockState }
func observe(p *policy.Policy)        { p.Mode = policy.Observe }

// shut shuts down the client's sending direction. Then the server's end is in CLOSE_WAIT, and the client's in
// FIN_WAIT2.
func shut(tb testing.TB, p nstest.Pair) nstest.Pair {
	tb.Helper()
	if err := p.Client.CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	return p
}

// end returns the end of a half-closed pair that is in the state.
func end(p nstest.Pair, st inetdiag.State) *net.TCPConn {
	if st == inetdiag.CloseWait {
		return p.Server
	}
	return p.Client
}

// outlive half-closes two sockets in the namespace, one after the other, which nothing spares, and waits until each is
// destroyed. An older socket that still exists afterwards has been past its grace, and was spared.
func (n *node) outlive(ns *nstest.NS, st inetdiag.State) {
	n.tb.Helper()
	n.outliveBy(st, func(inetdiag.State) nstest.Pair { return shut(n.tb, ns.Connect(n.tb, nstest.IPv4)) })
}

// outliveBy is outlive with sockets from connect. The connections moving are in use during the wait.
func (n *node) outliveBy(st inetdiag.State, connect func(inetdiag.State) nstest.Pair, moving ...net.Conn) {
	n.tb.Helper()
	for range 2 {
		victim := end(connect(st), st)
		nstest.Eventually(n.tb, patience, "the socket is known, or is gone already", func() bool {
			_, known := n.find(victim, api.SocketQuery{})
			_, gone := n.entry(victim, api.Destroyed)
			return known || gone
		})
		n.pass(lenient, moving...)
		n.awaitDestroyed(victim)
	}
}

// apart returns a function that creates connections between the namespace and another one. Their end in the first
// namespace is in the given state. No reaper knows the other ends, so they spare nothing.
func apart(tb testing.TB, ns *nstest.NS) func(st inetdiag.State) nstest.Pair {
	tb.Helper()
	far := newNS(tb)
	nstest.Link(tb, ns, far)
	return func(st inetdiag.State) nstest.Pair {
		if st == inetdiag.CloseWait {
			return shut(tb, far.ConnectFrom(tb, nstest.LinkB, ns.ListenAt(tb, nstest.LinkA+":0")))
		}
		return shut(tb, ns.ConnectFrom(tb, nstest.LinkA, far.ListenAt(tb, nstest.LinkB+":0")))
	}
}

// stillSpared checks that the socket of conn was not destroyed, and the reason.
func (n *node) stillSpared(conn net.Conn, q api.SocketQuery, want policy.Reason) {
	n.tb.Helper()
	v, ok := n.find(conn, q)
	if !ok {
		n.tb.Errorf("the socket is not listed")
	} else if v.Verdict != want {
		n.tb.Errorf("the verdict is %v (%s), want %v", v.Verdict, v.Why, want)
	}
	n.untouched(conn)
}

// untouched checks that the history has no entry for the socket of conn.
func (n *node) untouched(conn net.Conn) {
	n.tb.Helper()
	local, peer := addrs(conn)
	for _, e := range n.history() {
		if e.Local.String() == local && e.Peer.String() == peer {
			n.tb.Errorf("it is in the history: %+v", e)
		}
	}
}

// history returns the history.
func (n *node) history() []api.Entry {
	n.tb.Helper()
	page, err := n.History(context.Background(), api.HistoryQuery{})
	if err != nil {
		n.tb.Fatal(err)
	}
	return page.Entries
}

// status returns the status.
func (n *node) status() api.ReaperStatus {
	n.tb.Helper()
	s, err := n.Status(context.Background())
	if err != nil {
		n.tb.Fatal(err)
	}
	return s
}

// attachment returns the status of the attachment of r.
func (n *node) attachment(a interface{ String() string }) (api.AttachmentView, bool) {
	n.tb.Helper()
	for _, v := range n.status().Attachments {
		if v.String() == a.String() {
			return v, true
		}
	}
	return api.AttachmentView{}, false
}

// findAt is find by addresses, for a socket without a net.Conn.
func (n *node) findAt(local, peer string, q api.SocketQuery) (api.SocketView, bool) {
	n.tb.Helper()
	for _, v := range n.sockets(q) {
		if v.Local == local && (peer == "" || v.Peer == peer) {
			return v, true
		}
	}
	return api.SocketView{}, false
}

// answers checks that the server of a half-closed pair can still send to the client.
func answers(t *testing.T, p nstest.Pair) {
	t.Helper()
	check(t, "the server's send", sent(p.Server), nil)
	check(t, "the client's recv", received(p.Client), nil)
}

// rawFD calls fn with the descriptor of conn.
func rawFD(tb testing.TB, conn syscall.Conn, fn func(fd int) error) {
	tb.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) })
	if cerr != nil || err != nil {
		tb.Fatalf("control the socket: %v, %v", cerr, err)
	}
}

// cookieOf asks the socket itself for its cookie (SO_COOKIE).
func cookieOf(tb testing.TB, conn syscall.Conn) (cookie uint64) {
	tb.Helper()
	rawFD(tb, conn, func(fd int) (err error) {
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		return err
	})
	return cookie
}

// keepalive makes conn send a keepalive each second: the answers move tcp_info's last_ack_recv, so that the
// kernel can prove no age of more than a second or two.
func keepalive(tb testing.TB, conn *net.TCPConn) {
	tb.Helper()
	err := conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 100})
	if err != nil {
		tb.Fatal(err)
	}
}

// unproven is the part of the age of unprovable's sockets that the kernel does not prove.
const unproven = time.Hour

// unprovable lets half-closed sockets become older by unproven, waits until keepalives have moved their last_ack_recv,
// and turns the keepalives off. Then it lets some time pass, so that the reaper cannot take an earlier event for one
// after its last look.
func (n *node) unprovable(ns *nstest.NS, conns ...*net.TCPConn) {
	n.tb.Helper()
	for _, c := range conns {
		n.awaitKnown(c)
	}
	n.leap(unproven)
	leapt := time.Now()
	cookies := make([]uint64, len(conns))
	for i, c := range conns {
		keepalive(n.tb, c)
		cookies[i] = cookieOf(n.tb, c)
	}
	nstest.Eventually(n.tb, patience, "keepalives were answered", func() bool {
		looked := time.Now()
		found := kernelSockets(n.tb, ns)
		for i, c := range cookies {
			if s, ok := found[c]; ok && looked.Add(-s.Info.LastAckRecv).Before(leapt.Add(tick)) {
				keepalive(n.tb, conns[i]) // again, if something has turned it off
				return false
			}
		}
		return true
	})
	for _, c := range conns {
		if err := c.SetKeepAlive(false); err != nil {
			n.tb.Fatal(err)
		}
	}
	n.awaitSweeps(2)
	n.leap(time.Second)
}

// trickle calls step repeatedly, with pauses of a fraction of the shortest grace, until the test ends or stop is
// called. stop waits for the last step to return.
func trickle(tb testing.TB, step func() error) (stop func()) {
	tb.Helper()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if err := step(); err != nil {
					tb.Errorf("moving bytes: %v", err)
					return
				}
			}
		}
	}()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			close(quit)
			<-done
		}
	}
	tb.Cleanup(stop)
	return stop
}

// fill writes until the socket accepts no more bytes, and returns their number.
func fill(tb testing.TB, conn *net.TCPConn) (written int) {
	tb.Helper()
	block := make([]byte, 64<<10)
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Write(block)
		written += n
		if err != nil {
			_ = conn.SetWriteDeadline(time.Time{})
			return written
		}
	}
}

// drain reads exactly n bytes.
func drain(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.CopyN(io.Discard, conn, int64(n)); err != nil {
		t.Errorf("%d of %d bytes arrived: %v", got, n, err)
	}
}

// hostPort returns an address and port as the reaper writes them.
func hostPort(a net.Addr) string {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
}
