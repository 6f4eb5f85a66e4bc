// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// patience is the timeout of waits.
const patience = 10 * time.Second

// open opens a Conn in ns until the test ends.
func open(tb testing.TB, ns *nstest.NS) *inetdiag.Conn {
	tb.Helper()
	var (
		c   *inetdiag.Conn
		err error
	)
	ns.Do(tb, func() { c, err = inetdiag.Open() })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// dump returns the sockets of a dump, by cookie.
func dump(tb testing.TB, c *inetdiag.Conn, f inetdiag.Filter) map[uint64]inetdiag.Socket {
	tb.Helper()
	found := make(map[uint64]inetdiag.Socket)
	if err := c.Dump(f, func(s *inetdiag.Socket) error {
		if _, again := found[s.ID.Cookie()]; again {
			tb.Errorf("dump reports %v twice", s.ID)
		}
		found[s.ID.Cookie()] = *s
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return found
}

// everything requests all sockets with all fields.
func everything() inetdiag.Filter {
	return inetdiag.Filter{States: inetdiag.AllStates, Info: true}
}

// cookieOf returns the cookie from the socket itself (SO_COOKIE).
func cookieOf(tb testing.TB, conn syscall.Conn) uint64 {
	tb.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	var cookie uint64
	cerr := raw.Control(func(fd uintptr) {
		cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	})
	if cerr != nil || err != nil {
		tb.Fatalf("get SO_COOKIE: %v, %v", cerr, err)
	}
	return cookie
}

// socketOf returns the kernel's report of a socket of the test.
func socketOf(tb testing.TB, c *inetdiag.Conn, conn syscall.Conn) inetdiag.Socket {
	tb.Helper()
	s, ok := dump(tb, c, everything())[cookieOf(tb, conn)]
	if !ok {
		tb.Fatal("dump does not report the socket")
	}
	return s
}

// halfClose closes the client's sending direction and waits until the server's end is in CLOSE_WAIT and the client's in
// FIN_WAIT2.
func halfClose(tb testing.TB, c *inetdiag.Conn, p nstest.Pair) {
	tb.Helper()
	if err := p.Client.CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	awaitState(tb, c, p.Server, inetdiag.CloseWait)
	awaitState(tb, c, p.Client, inetdiag.FinWait2)
}

func awaitState(tb testing.TB, c *inetdiag.Conn, conn *net.TCPConn, want inetdiag.State) {
	tb.Helper()
	id := socketOf(tb, c, conn).ID
	nstest.Eventually(tb, patience, "state "+want.String(), func() bool {
		s, err := c.Lookup(id)
		if err != nil {
			tb.Fatal(err)
		}
		return s.State == want
	})
}

func awaitGone(tb testing.TB, c *inetdiag.Conn, id inetdiag.ID) {
	tb.Helper()
	nstest.Eventually(tb, patience, "socket gone", func() bool {
		_, err := c.Lookup(id)
		return errors.Is(err, inetdiag.ErrGone)
	})
}

// assertWorks sends a byte through the pair, client to server.
func assertWorks(tb testing.TB, p nstest.Pair) {
	tb.Helper()
	if _, err := p.Client.Write([]byte("x")); err != nil {
		tb.Errorf("connection that was to survive: %v", err)
		return
	}
	if err := p.Server.SetReadDeadline(time.Now().Add(patience)); err != nil {
		tb.Error(err)
	}
	if _, err := p.Server.Read(make([]byte, 1)); err != nil {
		tb.Errorf("connection that was to survive: %v", err)
	}
}

// countFDs counts the open file descriptors of this process.
func countFDs(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

// only returns the single socket.
func only(tb testing.TB, found map[uint64]inetdiag.Socket) inetdiag.Socket {
	tb.Helper()
	if len(found) != 1 {
		tb.Fatalf("%d sockets, want 1: %v", len(found), found)
	}
	for _, s := range found {
		return s
	}
	return inetdiag.Socket{}
}

func setLoopbackDown(tb testing.TB, ns *nstest.NS) {
	tb.Helper()
	ns.Do(tb, func() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetDown(lo)
		}
		if err != nil {
			tb.Errorf("set lo down: %v", err)
		}
	})
}
