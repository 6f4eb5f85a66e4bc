// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// The graces of these tests: a short one, which ends in real time, and a long one, which ends only when the test sets
// the clock forward, even on a busy machine.
const (
	soon    = 300 * time.Millisecond
	lenient = 5 * time.Minute
)

// spared is a socket that must survive while others of its state in its namespace are destroyed.
type spared struct {
	state  inetdiag.State // for which the policy has a grace
	policy func(*policy.Policy)
	// make creates the socket, and returns a check that its connection still works.
	make func(t *testing.T, ns *nstest.NS) (net.Conn, func(t *testing.T))
	want policy.Reason
	all  bool // only the list of all sockets has it
}

func nothingElse(*policy.Policy) {}

// bytesBacklog is the number of unread bytes of an owner that reads slowly: more than it reads during a test.
const bytesBacklog = 64 << 10

// backlogged makes a pair whose server end is in CLOSE_WAIT with bytesBacklog unread bytes.
func backlogged(t *testing.T, ns *nstest.NS) nstest.Pair {
	p := ns.Connect(t, nstest.IPv4)
	if _, err := p.Client.Write(make([]byte, bytesBacklog)); err != nil {
		t.Fatal(err)
	}
	return shut(t, p)
}

// slowly makes the server of a backlogged pair read a byte at a time, and returns a check that it gets all.
func slowly(t *testing.T, p nstest.Pair) func(*testing.T) {
	read := 0
	stop := trickle(t, func() error { read++; return received(p.Server) })
	return func(t *testing.T) {
		stop()
		drain(t, p.Server, bytesBacklog-read)
		answers(t, p)
	}
}

// streaming creates a half-closed pair whose server keeps sending.
func streaming(t *testing.T, ns *nstest.NS) (nstest.Pair, func(*testing.T)) {
	p := shut(t, ns.Connect(t, nstest.IPv4))
	stop := trickle(t, func() error {
		if err := sent(p.Server); err != nil {
			return err
		}
		return received(p.Client)
	})
	return p, func(t *testing.T) { stop(); answers(t, p) }
}

func TestSpares(t *testing.T) {
	cases := map[string]spared{
		"an established connection": {
			state: inetdiag.CloseWait, want: policy.NotHalfClosed, all: true,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := ns.Connect(t, nstest.IPv4)
				return p.Server, func(t *testing.T) { alive(t, p) }
			},
		},
		"one that keeps sending in CLOSE_WAIT": {
			state: inetdiag.CloseWait, want: policy.Progressing,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p, works := streaming(t, ns)
				return p.Server, works
			},
		},
		"one that keeps receiving in FIN_WAIT2": {
			state: inetdiag.FinWait2, want: policy.Progressing,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p, works := streaming(t, ns)
				return p.Client, works
			},
		},
		"one whose owner reads its backlog slowly, though pending data may be destroyed": {
			state: inetdiag.CloseWait, policy: pendingDestroy, want: policy.Progressing,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := backlogged(t, ns)
				return p.Server, slowly(t, p)
			},
		},
		"one whose owner reads its backlog slowly": {
			state: inetdiag.CloseWait, want: policy.Progressing,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := backlogged(t, ns)
				return p.Server, slowly(t, p)
			},
		},
		"one with unread bytes in CLOSE_WAIT": {
			state: inetdiag.CloseWait, want: policy.UnreadData,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := backlogged(t, ns)
				return p.Server, func(t *testing.T) { drain(t, p.Server, bytesBacklog); answers(t, p) }
			},
		},
		"one with a single unread byte in CLOSE_WAIT": {
			state: inetdiag.CloseWait, want: policy.UnreadData,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := ns.Connect(t, nstest.IPv4)
				check(t, "the client's send", sent(p.Client), nil)
				shut(t, p)
				return p.Server, func(t *testing.T) { drain(t, p.Server, 1); answers(t, p) }
			},
		},
		"one with unread bytes in FIN_WAIT2": {
			state: inetdiag.FinWait2, want: policy.UnreadData,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := shut(t, ns.Connect(t, nstest.IPv4))
				check(t, "the server's send", sent(p.Server), nil)
				return p.Client, func(t *testing.T) { drain(t, p.Client, 1); answers(t, p) }
			},
		},
		// The peer's window stays closed, and the peer answers the zero-window probes forever.
		"one with bytes that its peer does not acknowledge": {
			state: inetdiag.CloseWait, want: policy.UnackedData,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := shut(t, ns.Connect(t, nstest.IPv4))
				written := fill(t, p.Server)
				return p.Server, func(t *testing.T) { drain(t, p.Client, written); answers(t, p) }
			},
		},
		"one whose state's grace is never": {
			state: inetdiag.FinWait2, policy: func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }, want: policy.GraceNever,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := ns.Connect(t, nstest.IPv4)
				if err := p.Server.CloseWrite(); err != nil { // the client is in CLOSE_WAIT then
					t.Fatal(err)
				}
				orphan(t, p.Server)
				return p.Client, func(t *testing.T) { check(t, "the client's recv", received(p.Client), io.EOF) }
			},
		},
		// The kernel keeps only a mini-socket of it, with the same cookie.
		"an orphan FIN_WAIT2": {
			state: inetdiag.FinWait2, want: policy.Orphan,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := ns.Connect(t, nstest.IPv4)
				cookie := cookieOf(t, p.Client)
				orphan(t, p.Client)
				awaitOrphan(t, ns, cookie, false)
				return p.Client, func(t *testing.T) { closesOnItsOwn(t, p.Server) }
			},
		},
		"an orphan FIN_WAIT2 that the kernel keeps whole": {
			state: inetdiag.FinWait2, want: policy.Orphan,
			make: func(t *testing.T, ns *nstest.NS) (net.Conn, func(*testing.T)) {
				p := ns.Connect(t, nstest.IPv4)
				cookie := cookieOf(t, p.Client)
				rawFD(t, p.Client, func(fd int) error {
					return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, 100) // above net.ipv4.tcp_fin_timeout's 60 s
				})
				orphan(t, p.Client)
				awaitOrphan(t, ns, cookie, true)
				return p.Client, func(t *testing.T) { closesOnItsOwn(t, p.Server) }
			},
		},
	}
	eachFinder(t, func(t *testing.T, finder string) {
		n := newNode(t, finder, attentive)
		type made struct {
			connect func(inetdiag.State) nstest.Pair // creates a socket that must be destroyed
			conn    net.Conn
			works   func(*testing.T)
		}
		all := make(map[string]made)
		var moving []net.Conn
		for name, tc := range cases {
			ns := newNS(t)
			conn, works := tc.make(t, ns)
			if tc.policy == nil {
				tc.policy = nothingElse
			}
			n.register(ns, timing(tc.state, lenient, tc.policy))
			all[name] = made{apart(t, ns), conn, works}
			if !tc.all {
				n.awaitKnown(conn)
			}
			if tc.want == policy.Progressing {
				moving = append(moving, conn)
			}
		}
		for range 2 { // like outlive, in all of the network namespaces at once
			var victims []net.Conn
			for name, tc := range cases {
				victims = append(victims, end(all[name].connect(tc.state), tc.state))
			}
			for _, v := range victims {
				n.awaitKnown(v)
			}
			n.pass(lenient, moving...)
			for _, v := range victims {
				n.awaitDestroyed(v)
			}
		}
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				n.of(t).stillSpared(all[name].conn, api.SocketQuery{All: tc.all}, tc.want)
				all[name].works(t)
			})
		}
	})
}

// orphan closes conn while its peer keeps the other direction open.
func orphan(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// awaitOrphan waits until the socket is an orphan in FIN_WAIT2, and checks whether the kernel keeps the full socket.
func awaitOrphan(t *testing.T, ns *nstest.NS, cookie uint64, whole bool) {
	t.Helper()
	nstest.Eventually(t, patience, "the socket is an orphan in FIN_WAIT2", func() bool {
		s := kernelSockets(t, ns)[cookie]
		if s.State == inetdiag.FinWait2 && s.Inode == 0 && s.HasInfo != whole {
			t.Errorf("the kernel keeps the orphan whole: %v, want %v", s.HasInfo, whole)
		}
		return s.State == inetdiag.FinWait2 && s.Inode == 0
	})
}

// closesOnItsOwn checks that the peer of an orphan gets only the end of file.
func closesOnItsOwn(t *testing.T, peer net.Conn) {
	t.Helper()
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	if n, err := peer.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the orphan's peer reads %d bytes, %v", n, err)
	}
	check(t, "the orphan's peer's send", sent(peer), nil) // it would be EPIPE had the orphan been destroyed
}

func TestListenerAndItsQueueAreSpared(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder)
		l := ns.Listen(t, nstest.IPv4)
		port := l.Addr().(*net.TCPAddr).Port
		client := ns.Dial(t, nstest.IPv4, port)
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		n.register(ns, timing(inetdiag.CloseWait, lenient))
		n.outlive(ns, inetdiag.CloseWait)

		if v, ok := n.findAt(hostPort(l.Addr()), "0.0.0.0:0", live); !ok || v.Verdict != policy.NotHalfClosed || v.State != inetdiag.Listen {
			t.Errorf("the listener is listed as %+v", v)
		}
		if v, ok := n.findAt(hostPort(l.Addr()), hostPort(client.LocalAddr()), api.SocketQuery{}); !ok || v.Verdict != policy.NotAccepted || v.Age != nil {
			t.Errorf("what is not accepted is listed as %+v", v)
		}

		// Its owner's time begins when it is accepted, though it has been in CLOSE_WAIT for longer than its grace.
		accepted := n.now()
		server, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		n.awaitVerdict(server, policy.WithinGrace)
		answers(t, nstest.Pair{Client: client, Server: server})
		n.awaitSweeps(2)
		n.pass(lenient)
		e := n.awaitDestroyed(server)
		if age := time.Duration(e.Age); age < lenient || age > n.ago(accepted)+tick {
			t.Errorf("destroyed at the age of %v, %v after it was accepted, with a grace of %v", age, n.ago(accepted), lenient)
		}
	})
}

func TestSocketIsSparedUntilItsGraceEnds(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for _, st := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(st.String(), func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder)
				n.register(ns, timing(st, lenient))
				old := shut(t, ns.Connect(t, nstest.IPv4))
				n.awaitKnown(end(old, st))
				n.leap(lenient / 2) // half of the old socket's grace has passed
				before := n.now()
				young := shut(t, ns.Connect(t, nstest.IPv4))
				n.awaitKnown(end(young, st))
				n.leap(lenient / 2)
				n.awaitDestroyed(end(old, st))
				if e, ok := n.entry(end(young, st), "destroyed"); ok {
					t.Errorf("the young one was destroyed too: %+v", e)
				}
				n.leap(lenient / 2)
				e := n.awaitDestroyed(end(young, st))
				if age := time.Duration(e.Age); age < lenient || age > n.ago(before)+tick {
					t.Errorf("destroyed at the age of %v, %v after it was made", age, n.ago(before))
				}
			})
		}
	})
}
