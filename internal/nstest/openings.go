// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"net"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Opening is a way to open a connection, for tests that determine which end opened it.
type Opening struct {
	Name string
	// Make opens one connection over loopback with system calls alone. The descriptors are closed when the test ends.
	Make func(tb testing.TB, ns *NS) (client, server int)
	// Bound means that bind(2) chose the client's port.
	Bound bool
	// Closed means that the server's listener has been closed.
	Closed bool
	// Shared means that another listener is open on the client's own port.
	Shared bool
}

// Openings lists all ways.
var Openings = []Opening{
	{Name: "plain connect, over IPv4", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, bind(loopback4()), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET), l, loopback4())
	}},
	{Name: "plain connect, over IPv6", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET6, bind(loopback6()), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET6), l, loopback6())
	}},
	{Name: "to a wildcard address", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, bind(&unix.SockaddrInet4{}), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET), l, loopback4())
	}},
	{Name: "over IPv4 to a listener of both families", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET6, bind(&unix.SockaddrInet6{}), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET), l, loopback4())
	}},
	{Name: "v4-mapped at both ends", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET6, bind(&unix.SockaddrInet6{}), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET6), l, &unix.SockaddrInet6{Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}})
	}},
	{Name: "to a listener of IPv6 alone", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET6, option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1), bind(&unix.SockaddrInet6{}), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET6), l, loopback6())
	}},
	{Name: "to one of four listeners that share a port", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, reusePort, bind(&unix.SockaddrInet4{}), listen)
		listeners := []int{l}
		for range 3 {
			listeners = append(listeners, ns.Socket(tb, unix.AF_INET, reusePort, bind(&unix.SockaddrInet4{Port: portOf(tb, l)}), listen))
		}
		client := ns.Socket(tb, unix.AF_INET)
		to := loopback4()
		to.Port = portOf(tb, l)
		if err := unix.Connect(client, to); err != nil {
			tb.Fatal(err)
		}
		var ready []unix.PollFd
		for _, l := range listeners {
			ready = append(ready, unix.PollFd{Fd: int32(l), Events: unix.POLLIN})
		}
		if _, err := unix.Poll(ready, 10000); err != nil {
			tb.Fatal(err)
		}
		for _, p := range ready {
			if p.Revents != 0 {
				return client, accept(tb, int(p.Fd))
			}
		}
		tb.Fatal("no listener has the connection")
		return -1, -1
	}},
	{Name: "bound to a device at both ends", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, toLoopbackDevice, bind(loopback4()), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET, toLoopbackDevice), l, loopback4())
	}},
	{Name: "bind to an address with IP_BIND_ADDRESS_NO_PORT, then connect", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, bind(loopback4()), listen)
		client := ns.Socket(tb, unix.AF_INET, option(unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1), bind(loopback4()))
		return connect(tb, client, l, loopback4())
	}},
	{Name: "bind to any port, then connect, over IPv4", Bound: true, Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, bind(loopback4()), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET, bind(loopback4())), l, loopback4())
	}},
	{Name: "bind to any port, then connect, over IPv6", Bound: true, Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET6, bind(loopback6()), listen)
		return connect(tb, ns.Socket(tb, unix.AF_INET6, bind(loopback6())), l, loopback6())
	}},
	{Name: "bind to a listening port, then connect", Bound: true, Shared: true, Make: func(tb testing.TB, ns *NS) (int, int) {
		shared := ns.Socket(tb, unix.AF_INET, reusePort, bind(&unix.SockaddrInet4{}), listen)
		client := ns.Socket(tb, unix.AF_INET, reusePort, bind(&unix.SockaddrInet4{Port: portOf(tb, shared)}))
		l := ns.Socket(tb, unix.AF_INET, bind(loopback4()), listen)
		return connect(tb, client, l, loopback4())
	}},
	{Name: "to a listener without bind that has closed since", Closed: true, Make: func(tb testing.TB, ns *NS) (int, int) {
		l, err := -1, error(nil)
		ns.Do(tb, func() { l, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) })
		if err != nil {
			tb.Fatal(err)
		}
		defer unix.Close(l)
		if err := listen(l); err != nil {
			tb.Fatal(err)
		}
		return connect(tb, ns.Socket(tb, unix.AF_INET), l, loopback4())
	}},
	{Name: "by an accepted socket that its owner has disconnected", Make: func(tb testing.TB, ns *NS) (int, int) {
		l := ns.Socket(tb, unix.AF_INET, bind(loopback4()), listen)
		_, server := connect(tb, ns.Socket(tb, unix.AF_INET), l, loopback4())
		var nowhere unix.RawSockaddr // AF_UNSPEC is 0
		if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(server), uintptr(unsafe.Pointer(&nowhere)), unsafe.Sizeof(nowhere)); errno != 0 {
			tb.Fatal(errno)
		}
		return connect(tb, server, l, loopback4())
	}},
}

// Socket opens a TCP socket in the network namespace and calls prepare with it. The socket is closed when the test ends.
func (n *NS) Socket(tb testing.TB, family int, prepare ...func(fd int) error) (fd int) {
	tb.Helper()
	var err error
	n.Do(tb, func() { fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		tb.Fatalf("make a socket: %v", err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	for _, fn := range prepare {
		if err := fn(fd); err != nil {
			tb.Fatalf("prepare a socket: %v", err)
		}
	}
	return fd
}

// connect connects client to the listener at address to, whose port it sets, and accepts the connection.
func connect(tb testing.TB, client, listener int, to unix.Sockaddr) (c, server int) {
	tb.Helper()
	switch to := to.(type) {
	case *unix.SockaddrInet4:
		to.Port = portOf(tb, listener)
	case *unix.SockaddrInet6:
		to.Port = portOf(tb, listener)
	}
	if err := unix.Connect(client, to); err != nil {
		tb.Fatalf("connect: %v", err)
	}
	return client, accept(tb, listener)
}

func accept(tb testing.TB, listener int) (server int) {
	tb.Helper()
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		tb.Fatalf("accept: %v", err)
	}
	tb.Cleanup(func() { unix.Close(server) })
	return server
}

// portOf returns a socket's local port.
func portOf(tb testing.TB, fd int) int {
	tb.Helper()
	at, err := unix.Getsockname(fd)
	if err != nil {
		tb.Fatal(err)
	}
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return at.Port
	case *unix.SockaddrInet6:
		return at.Port
	}
	tb.Fatalf("the address of a TCP socket is a %T", at)
	return 0
}

// CookieOf returns a socket's cookie (SO_COOKIE).
func CookieOf(tb testing.TB, fd int) uint64 {
	tb.Helper()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		tb.Fatalf("get SO_COOKIE: %v", err)
	}
	return cookie
}

func option(level, name, value int) func(fd int) error {
	return func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) }
}

func bind(to unix.Sockaddr) func(fd int) error {
	return func(fd int) error { return unix.Bind(fd, to) }
}

func listen(fd int) error { return unix.Listen(fd, 8) }

func reusePort(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

func toLoopbackDevice(fd int) error { return unix.BindToDevice(fd, "lo") }

// loopback4 and loopback6 return an address of the loopback interface, without a port.
func loopback4() *unix.SockaddrInet4 { return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}} }

func loopback6() *unix.SockaddrInet6 { return &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)} }
