// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// sockets is the numbers of connections over loopback in a namespace, a third each over IPv4, IPv6 and v4-mapped, without
// keepalive. The process owns both ends, except for Closed.
type sockets struct {
	Shut        int `json:"shut"`        // one end has shut its sending side: FIN_WAIT2 and CLOSE_WAIT
	Closed      int `json:"closed"`      // one end has vanished after that: CLOSE_WAIT alone
	Established int `json:"established"` // nothing has been closed
}

// halfClosed returns the number of half-closed sockets.
func (s sockets) halfClosed() int { return 2*s.Shut + s.Closed }

// total returns the number of sockets.
func (s sockets) total() int { return s.halfClosed() + 2*s.Established }

// patience is the timeout of waits on the busiest of machines.
const patience = time.Minute

// make opens them in the thread's namespace, waits until all are in their states, and returns the descriptors.
func (s sockets) make() (fds []int, err error) {
	if s.total() == 0 {
		return nil, nil
	}
	var clients, servers []int
	defer func() {
		fds = append(servers, clients...)
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	listeners, err := listenAll()
	defer closeAll(listeners)
	for i := 0; err == nil && i < s.Closed+s.Shut+s.Established; i++ {
		var client, server int
		if client, server, err = connect(listeners[i%len(listeners)]); err == nil {
			clients, servers = append(clients, client), append(servers, server)
		}
	}
	for i := 0; err == nil && i < s.Closed+s.Shut; i++ {
		err = unix.Shutdown(clients[i], unix.SHUT_WR)
	}
	// An ACK of a FIN may be delayed: wait for all sockets together.
	for i := 0; err == nil && i < s.Closed+s.Shut; i++ {
		if err = awaitState(clients[i], inetdiag.FinWait2); err == nil {
			err = awaitState(servers[i], inetdiag.CloseWait)
		}
	}
	for i := 0; err == nil && i < s.Closed; i++ {
		err = vanish(clients[0])
		clients = clients[1:]
	}
	return nil, err
}

// vanish closes a socket without sending a packet and without a TIME_WAIT, as if its host had gone: the kernel does that
// for a socket in repair mode (TCP_REPAIR of include/uapi/linux/tcp.h).
func vanish(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	return errors.Join(os.NewSyscallError("set TCP_REPAIR", err), unix.Close(fd))
}

// listenAll listens over each kind of network that the machine has.
func listenAll() ([]int, error) {
	var fds []int
	for _, addr := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		fd, err := listen(netip.MustParseAddr(addr))
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			continue // IPv6 is off
		}
		if err != nil {
			return fds, fmt.Errorf("listen on %s: %w", addr, err)
		}
		fds = append(fds, fd)
	}
	if len(fds) == 0 {
		return nil, errors.New("listen: neither IPv4 nor IPv6 works on loopback")
	}
	return fds, nil
}

func listen(addr netip.Addr) (int, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16()})
	if addr.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, sa); err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connect opens one connection to a listener.
func connect(listener int) (client, server int, err error) {
	to, err := unix.Getsockname(listener)
	if err != nil {
		return -1, -1, err
	}
	family := unix.AF_INET6
	if _, v4 := to.(*unix.SockaddrInet4); v4 {
		family = unix.AF_INET
	}
	client, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("open socket: %w", err)
	}
	if err = retry(func() error { return unix.Connect(client, to) }); err == nil {
		err = retry(func() (err error) {
			server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
			return err
		})
	}
	if err != nil {
		unix.Close(client)
		return -1, -1, fmt.Errorf("connect: %w", err)
	}
	return client, server, nil
}

// retry retries a call on EINTR. (A connect that continues in the background returns EISCONN.)
func retry(call func() error) error {
	err := call()
	for errors.Is(err, unix.EINTR) {
		if err = call(); errors.Is(err, unix.EISCONN) {
			return nil
		}
	}
	return err
}

// awaitState waits until a socket is in a state.
func awaitState(fd int, want inetdiag.State) error {
	return poll(context.Background(), patience, time.Millisecond, "a socket is in "+want.String(), func() (bool, error) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err == nil && inetdiag.State(info.State) == want, err
	})
}

// closeAll closes sockets with a reset, so that none is left in TIME_WAIT.
func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(fd)
	}
}
