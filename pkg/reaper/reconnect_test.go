// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// fixedPort is the local port of sockets that are connected more than once.
const fixedPort = 20000

// socket is a client's socket that can be connected more than once.
type socket struct {
	fd     int
	cookie uint64
}

// newSocket makes a socket bound to fixedPort.
func newSocket(t *testing.T, ns *nstest.NS) *socket {
	t.Helper()
	var s socket
	ns.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		s.fd = fd
		if err == nil {
			t.Cleanup(s.close)
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: fixedPort, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			s.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		}
		if err != nil {
			t.Errorf("make a socket: %v", err)
		}
	})
	return &s
}

// close closes the socket. It may be called again.
func (s *socket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// connect connects the socket, and returns the other end.
func (s *socket) connect(t *testing.T, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	if err := unix.Connect(s.fd, &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("connect: %v", err)
	}
	peer, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return peer
}

// disconnect calls connect(2) with AF_UNSPEC, after which the socket can be connected again.
func (s *socket) disconnect(t *testing.T) {
	t.Helper()
	none := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
	if errno != 0 {
		t.Fatalf("disconnect: %v", errno)
	}
}

// halfClose connects the socket, exchanges some bytes and shuts down one side's sending direction, so that the socket
// is in the state.
func (s *socket) halfClose(t *testing.T, ns *nstest.NS, l *net.TCPListener, st inetdiag.State, bytes int) *net.TCPConn {
	t.Helper()
	peer := s.connect(t, l)
	block := make([]byte, bytes)
	if bytes > 0 {
		if _, err := unix.Write(s.fd, block); err != nil {
			t.Fatal(err)
		}
		drain(t, peer, bytes)
		if _, err := peer.Write(block); err != nil {
			t.Fatal(err)
		}
		if n, _, err := unix.Recvfrom(s.fd, block, unix.MSG_WAITALL); n != bytes || err != nil {
			t.Fatalf("read %d bytes: %v", n, err)
		}
	}
	var err error
	if st == inetdiag.CloseWait {
		err = peer.CloseWrite()
	} else {
		err = unix.Shutdown(s.fd, unix.SHUT_WR)
	}
	if err != nil {
		t.Fatal(err)
	}
	awaitState(t, ns, s.cookie, st)
	return peer
}

// TestReconnectedSocketHasItsOwnAge ages a socket, then connects it again, with the same cookie, and half-closes the
// new connection too.
func TestReconnectedSocketHasItsOwnAge(t *testing.T) {
	const grace = time.Hour
	eachFinder(t, func(t *testing.T, finder string) {
		for name, tc := range map[string]struct {
			another      bool // peer
			state        inetdiag.State
			first, other int // bytes exchanged
		}{
			"with another peer":                       {another: true, state: inetdiag.CloseWait, first: 10, other: 10},
			"with another peer, in FIN_WAIT2":         {another: true, state: inetdiag.FinWait2, first: 10, other: 10},
			"with the same peer":                      {state: inetdiag.CloseWait, first: 20, other: 10},
			"with the same peer, in FIN_WAIT2":        {state: inetdiag.FinWait2, first: 20, other: 10},
			"with the same peer and as many bytes":    {state: inetdiag.CloseWait, first: 10, other: 10},
			"with the same peer and no bytes":         {state: inetdiag.CloseWait},
			"with the same peer, FIN_WAIT2, no bytes": {state: inetdiag.FinWait2},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				var g gate
				n := newNode(t, finder, attentive, g.use)
				first := ns.Listen(t, nstest.IPv4)
				next := first
				if tc.another {
					next = ns.Listen(t, nstest.IPv4)
				}
				n.register(ns, timing(tc.state, grace))
				s := newSocket(t, ns)
				s.halfClose(t, ns, first, tc.state, tc.first)
				n.awaitAge(s.cookie, 0)
				n.leap(grace / 4)
				n.awaitAge(s.cookie, grace/4)
				goOn := g.hold(t)
				reconnected := n.now()
				s.disconnect(t)
				s.halfClose(t, ns, next, tc.state, tc.other)
				goOn()
				e := n.outlast(s, grace)
				if age := time.Duration(e.Age); age < grace || age > n.ago(reconnected)+tick {
					t.Errorf("destroyed at the age of %v, %v after it was made, with a grace of %v", age, n.ago(reconnected), grace)
				}
				if want := hostPort(next.Addr()); e.Peer.String() != want {
					t.Errorf("destroyed with the peer %s, want %s", e.Peer, want)
				}
			})
		}
	})
}

// TestOutdatedLookDestroysNoSocket shows the reaper an outdated look at sockets whose grace was long over. Since then
// they have another state or connection, with the same ID.
func TestOutdatedLookDestroysNoSocket(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, ns *nstest.NS, s *socket, l *net.TCPListener){
		"it is connected again, to the same peer": func(t *testing.T, _ *nstest.NS, s *socket, l *net.TCPListener) {
			s.disconnect(t)
			s.connect(t, l)
		},
		"it is connected again, to the same peer, and half-closed": func(t *testing.T, ns *nstest.NS, s *socket, l *net.TCPListener) {
			s.disconnect(t)
			s.halfClose(t, ns, l, inetdiag.CloseWait, 0)
		},
		"it is connected again, to another peer, and half-closed": func(t *testing.T, ns *nstest.NS, s *socket, _ *net.TCPListener) {
			s.disconnect(t)
			s.halfClose(t, ns, ns.Listen(t, nstest.IPv4), inetdiag.CloseWait, 0)
		},
		"its addresses and ports are another socket's": func(t *testing.T, ns *nstest.NS, s *socket, l *net.TCPListener) {
			s.disconnect(t)
			s.close()
			newSocket(t, ns).halfClose(t, ns, l, inetdiag.CloseWait, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			fake, use := newFake()
			n := newNode(t, "sockdiag", use)
			r := n.register(ns, timing(inetdiag.CloseWait, longGrace))
			awaitTarget(t, fake, r.Netns.Identity)

			l := ns.Listen(t, nstest.IPv4)
			s := newSocket(t, ns)
			s.halfClose(t, ns, l, inetdiag.CloseWait, 0)
			control := shut(t, ns.Connect(t, nstest.IPv4)).Server
			awaitState(t, ns, cookieOf(t, control), inetdiag.CloseWait)
			before := kernelSockets(t, ns)
			at := nstest.Clock(t).Now()
			seen := []finder.Seen{
				enteredLongAgo(before[s.cookie], at.Add(-time.Second)), // so that it is older than the next connection
				enteredLongAgo(before[cookieOf(t, control)], at),
			}
			change(t, ns, s, l)
			report(t, fake, r.Netns.Identity, seen)

			n.awaitDestroyed(control)
			if state := stateAt(t, ns, fixedPort); state != inetdiag.CloseWait && state != inetdiag.Established {
				t.Errorf("the socket is in %v now", state)
			}
			for _, e := range n.history() {
				if e.Peer.String() == hostPort(l.Addr()) || e.Cookie == s.cookie {
					t.Errorf("it is in the history: %+v", e)
				}
			}
			if v, ok := n.byCookie(s.cookie); ok && v.Verdict != policy.WithinGrace {
				t.Errorf("the verdict is %v (%s)", v.Verdict, v.Why)
			}
		})
	}
}

// stateAt returns the state of the socket with that local port.
func stateAt(t *testing.T, ns *nstest.NS, port uint16) inetdiag.State {
	t.Helper()
	for _, s := range kernelSockets(t, ns) {
		if s.ID.Local().Port() == port {
			return s.State
		}
	}
	return 0
}

// byCookie returns the reaper's view of a half-closed socket.
func (n *node) byCookie(cookie uint64) (api.SocketView, bool) {
	n.tb.Helper()
	for _, v := range n.sockets(api.SocketQuery{}) {
		if v.Cookie == cookie {
			return v, true
		}
	}
	return api.SocketView{}, false
}

// outlast lets the grace of a socket pass in two halves, and waits until the socket is destroyed. It must not be
// destroyed before the grace ends.
func (n *node) outlast(s *socket, grace time.Duration) api.Entry {
	n.tb.Helper()
	n.awaitSweeps(2) // the reaper has dropped what it knew of the earlier connection
	n.awaitAge(s.cookie, 0)
	for range 2 {
		n.leap(grace / 2)
		n.awaitSweeps(2)
	}
	return n.awaitCookieDestroyed(s.cookie)
}

// awaitCookieDestroyed is awaitDestroyed for a socket without a net.Conn.
func (n *node) awaitCookieDestroyed(cookie uint64) (entry api.Entry) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "destroyed is in the history", func() bool {
		for _, e := range n.history() {
			if e.Cookie == cookie && e.Outcome == "destroyed" {
				entry = e
				return true
			}
		}
		return false
	})
	return entry
}
