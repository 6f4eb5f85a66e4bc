// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The networks of a connection.
const (
	IPv4   = "ipv4"
	IPv6   = "ipv6"
	Mapped = "v4-mapped" // AF_INET6 sockets on both sides, carrying IPv4
)

// Networks lists all networks.
var Networks = []string{IPv4, IPv6, Mapped}

// Pair is the two ends of a connection.
type Pair struct {
	Client, Server *net.TCPConn
}

// Connect opens a connection over loopback in the namespace, without keepalive. Both ends are closed when the test ends.
func (n *NS) Connect(tb testing.TB, network string) Pair {
	tb.Helper()
	l := n.Listen(tb, network)
	defer l.Close()
	client := n.Dial(tb, network, l.Addr().(*net.TCPAddr).Port)
	server, err := l.AcceptTCP()
	if err != nil {
		tb.Fatalf("accept: %v", err)
	}
	tb.Cleanup(func() { server.Close() })
	return Pair{Client: client, Server: server}
}

// Listen listens on a free loopback port in the namespace, for plain TCP without keepalive.
func (n *NS) Listen(tb testing.TB, network string) *net.TCPListener {
	tb.Helper()
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	var (
		l   net.Listener
		err error
	)
	n.Do(tb, func() {
		switch network {
		case IPv4:
			l, err = lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
		case IPv6:
			l, err = lc.Listen(context.Background(), "tcp6", "[::1]:0")
		case Mapped:
			l, err = lc.Listen(context.Background(), "tcp", ":0")
		}
	})
	if err != nil {
		tb.Fatalf("listen (%s): %v", network, err)
	}
	tb.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// Dial connects to a loopback port in the namespace. The client is closed when the test ends.
func (n *NS) Dial(tb testing.TB, network string, port int) *net.TCPConn {
	tb.Helper()
	var (
		c   net.Conn
		err error
	)
	n.Do(tb, func() {
		d := net.Dialer{KeepAlive: -1, Timeout: time.Minute}
		d.SetMultipathTCP(false)
		switch network {
		case IPv4:
			c, err = d.Dial("tcp4", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String())
		case IPv6:
			c, err = d.Dial("tcp6", (&net.TCPAddr{IP: net.IPv6loopback, Port: port}).String())
		case Mapped:
			c, err = dialMapped(port)
		}
	})
	if err != nil {
		tb.Fatalf("dial (%s) port %d: %v", network, port, err)
	}
	tb.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// dialMapped connects an AF_INET6 socket to ::ffff:127.0.0.1, which package net never does.
func dialMapped(port int) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	to := &unix.SockaddrInet6{Port: port, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return fileConn(fd)
}

// fileConn returns a net.Conn for a socket, and closes fd.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return net.FileConn(f)
}

// ConnectMPTCP opens a connection over IPv4 loopback in the namespace, with MPTCP requested at each end or not, and without
// keepalive at the client. Both ends are closed when the test ends.
func (n *NS) ConnectMPTCP(tb testing.TB, client, server bool) Pair {
	tb.Helper()
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(server)
	d := net.Dialer{KeepAlive: -1, Timeout: time.Minute}
	d.SetMultipathTCP(client)
	var (
		l    net.Listener
		conn net.Conn
		err  error
	)
	n.Do(tb, func() {
		if l, err = lc.Listen(context.Background(), "tcp4", "127.0.0.1:0"); err == nil {
			conn, err = d.Dial("tcp4", l.Addr().String())
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	tb.Cleanup(func() { conn.Close() })
	accepted, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { accepted.Close() })
	return Pair{Client: conn.(*net.TCPConn), Server: accepted.(*net.TCPConn)}
}
