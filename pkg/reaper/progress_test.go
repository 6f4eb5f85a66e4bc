// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// neverMoved checks that a socket was destroyed and never made progress. No other socket of the node may make progress.
func (n *node) neverMoved(t *testing.T, e api.Entry, grace time.Duration) {
	t.Helper()
	n.noneMoved(t)
	if time.Duration(e.Idle) < grace {
		t.Errorf("it was destroyed after %v of a grace of %v", time.Duration(e.Idle), grace)
	}
}

// noneMoved checks that no socket has made progress since the node's reaper started.
func (n *node) noneMoved(t *testing.T) {
	t.Helper()
	m, err := n.Metrics(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if moved := m.SparedTotal[policy.Progressing]; moved != 0 {
		t.Errorf("progress was noticed %d times", moved)
	}
}

func TestKeepalivesAreNoProgress(t *testing.T) {
	const grace = time.Minute
	eachFinder(t, func(t *testing.T, finder string) {
		for _, st := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(st.String(), func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder)
				n.register(ns, timing(st, grace))
				p := ns.Connect(t, nstest.IPv4)
				conn := end(p, st)
				cookie := cookieOf(t, conn)
				keepalive(t, conn)
				shut(t, p)
				n.awaitKnown(conn)
				n.leap(grace / 2)
				leapt := time.Now()
				nstest.Eventually(t, patience, "a keepalive is answered", func() bool {
					looked := time.Now()
					return looked.Add(-kernelSockets(t, ns)[cookie].Info.LastAckRecv).After(leapt.Add(tick))
				})
				n.awaitSweeps(2)
				n.leap(grace / 2)
				n.neverMoved(t, n.awaitDestroyed(conn), grace)
			})
		}
	})
}

// retransmitting creates a connection whose server, in ns, is in CLOSE_WAIT. Each transmission of its last byte to the
// client is lost.
func retransmitting(t *testing.T, ns *nstest.NS) *net.TCPConn {
	t.Helper()
	far := newNS(t)
	nstest.Link(t, ns, far)
	p := shut(t, far.ConnectFrom(t, nstest.LinkB, ns.ListenAt(t, nstest.LinkA+":0")))
	cookie := cookieOf(t, p.Server)
	awaitState(t, ns, cookie, inetdiag.CloseWait)
	far.SetLink(t, nstest.LinkName, false)
	check(t, "the server's send", sent(p.Server), nil)
	nstest.Eventually(t, patience, "the byte is retransmitted", func() bool {
		return kernelSockets(t, ns)[cookie].Retrans > 0
	})
	return p.Server
}

func awaitState(t *testing.T, ns *nstest.NS, cookie uint64, want inetdiag.State) {
	t.Helper()
	nstest.Eventually(t, patience, "the socket is in "+want.String(), func() bool {
		return kernelSockets(t, ns)[cookie].State == want
	})
}

func TestRetransmissionsAreNoProgress(t *testing.T) {
	const grace = lenient
	eachFinder(t, func(t *testing.T, finder string) {
		t.Run("pending data may be destroyed", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			conn := retransmitting(t, ns)
			n.register(ns, timing(inetdiag.CloseWait, grace, pendingDestroy))
			n.awaitKnown(conn)
			n.leap(grace)
			e := n.awaitDestroyed(conn)
			n.neverMoved(t, e, grace)
			if e.WQueue != 1 {
				t.Errorf("recorded with %d bytes to be acknowledged, want 1", e.WQueue)
			}
		})
		t.Run("pending data is kept", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			conn := retransmitting(t, ns)
			n.register(ns, timing(inetdiag.CloseWait, grace))
			n.outlive(ns, inetdiag.CloseWait)
			n.stillSpared(conn, api.SocketQuery{}, policy.UnackedData)
			n.noneMoved(t)
		})
	})
}

func TestPendingDataDoesNotDelayPastPendingGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		all := newNode(t, finder)
		for name, tc := range map[string]struct {
			state inetdiag.State
			make  func(*testing.T, nstest.Pair)
		}{
			"unread bytes in CLOSE_WAIT": {inetdiag.CloseWait, func(t *testing.T, p nstest.Pair) {
				check(t, "the client's send", sent(p.Client), nil)
				shut(t, p)
			}},
			"unread bytes in FIN_WAIT2": {inetdiag.FinWait2, func(t *testing.T, p nstest.Pair) {
				shut(t, p)
				check(t, "the server's send", sent(p.Server), nil)
			}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns, n := newNS(t), all.of(t)
				p, bystander := ns.Connect(t, nstest.IPv4), ns.Connect(t, nstest.IPv4)
				tc.make(t, p)
				n.register(ns, timing(tc.state, soon, pendingDestroy))
				n.awaitDestroyed(end(p, tc.state))
				alive(t, bystander)
				n.untouched(bystander.Server)
			})
		}
		t.Run("a peer that acknowledges nothing but zero-window probes", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder)
			p := apart(t, ns)(inetdiag.CloseWait)
			fill(t, p.Server)
			n.register(ns, timing(inetdiag.CloseWait, soon, pendingDestroy))
			n.awaitDestroyed(p.Server)
		})
	})
}

func TestClockStateIgnoresProgress(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for _, st := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(st.String(), func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder)
				unread, p := ns.Connect(t, nstest.IPv4), shut(t, ns.Connect(t, nstest.IPv4))
				check(t, "the client's send", sent(unread.Client), nil)
				shut(t, unread)
				check(t, "the server's send", sent(unread.Server), nil)
				trickle(t, func() error {
					if sent(p.Server) == nil {
						_ = received(p.Client)
					}
					return nil
				})
				n.register(ns, timing(st, lenient, clockState))
				n.awaitKnown(end(p, st))
				n.leap(lenient)
				e := n.awaitDestroyed(end(p, st))
				if age := time.Duration(e.Age); age < lenient {
					t.Errorf("destroyed at the age of %v, with a grace of %v", age, lenient)
				}
				// The retransmissions change nothing else: a socket with pending data is kept.
				n.awaitVerdict(end(unread, st), policy.UnreadData)
				n.untouched(end(unread, st))
			})
		}
	})
}
