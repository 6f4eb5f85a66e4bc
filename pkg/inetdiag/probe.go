// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// probeWait is the timeout of each step of a probe, in milliseconds.
const probeWait = 2000

// Probe finds out whether this process can destroy sockets: it creates a connection over IPv4 loopback in the network
// namespace of the calling thread, destroys one end, and checks that the end is dead. It returns nil if so,
// [ErrUnsupported] or [ErrDenied] if the kernel refuses, and another error if the probe cannot run, for example because lo
// is down. It leaves no socket open.
func Probe() error {
	runtime.LockOSThread() // all sockets in the same namespace
	defer runtime.UnlockOSThread()
	if err := probe(); err != nil {
		return fmt.Errorf("probe SOCK_DESTROY: %w", err)
	}
	return nil
}

func probe() error {
	client, server, err := loopbackPair()
	if err != nil {
		return fmt.Errorf("connect over 127.0.0.1 (is lo up?): %w", err)
	}
	defer unix.Close(client)
	defer unix.Close(server)
	id, err := idOf(client)
	if err != nil {
		return err
	}
	c, err := Open()
	if err != nil {
		return err
	}
	defer c.Close()
	switch _, err := c.Lookup(id); {
	case errors.Is(err, ErrGone):
		return fmt.Errorf("look up own socket: %w", ErrNoTCP)
	case err != nil:
		return fmt.Errorf("look up own socket: %w", err)
	}
	if err := c.Destroy(id); err != nil {
		return err
	}
	switch _, err := unix.Read(client, make([]byte, 1)); {
	case errors.Is(err, unix.ECONNABORTED):
		return nil
	case err == nil:
		return errors.New("kernel acknowledged the destroy, but the socket still works")
	default:
		return fmt.Errorf("kernel acknowledged the destroy, but the socket still works: read: %w", err)
	}
}

// loopbackPair creates a TCP connection over 127.0.0.1 between non-blocking sockets.
func loopbackPair() (client, server int, err error) {
	listener, err := tcpSocket()
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(listener)
	if err = unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return -1, -1, err
	}
	if err = unix.Listen(listener, 1); err != nil {
		return -1, -1, err
	}
	at, err := unix.Getsockname(listener)
	if err != nil {
		return -1, -1, err
	}
	if client, err = tcpSocket(); err != nil {
		return -1, -1, err
	}
	if server, err = connectAccept(client, listener, at); err != nil {
		unix.Close(client)
		return -1, -1, err
	}
	return client, server, nil
}

func tcpSocket() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
}

func connectAccept(client, listener int, at unix.Sockaddr) (int, error) {
	if err := unix.Connect(client, at); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, err
	}
	if err := await(client, unix.POLLOUT); err != nil {
		return -1, err
	}
	if errno, err := unix.GetsockoptInt(client, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return -1, err
	} else if errno != 0 {
		return -1, unix.Errno(errno)
	}
	if err := await(listener, unix.POLLIN); err != nil {
		return -1, err
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	return server, err
}

// await waits until fd is ready.
func await(fd int, events int16) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, probeWait)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		default:
			return nil
		}
	}
}

// idOf returns the ID of an IPv4 socket of this process.
func idOf(fd int) (ID, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return ID{}, fmt.Errorf("get socket cookie (SO_COOKIE, Linux 4.12): %w", err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return ID{}, fmt.Errorf("get local address: %w", err)
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return ID{}, fmt.Errorf("get peer's address: %w", err)
	}
	return NewID(unix.AF_INET, addrPort4(local), addrPort4(peer), 0, cookie), nil
}

func addrPort4(sa unix.Sockaddr) netip.AddrPort {
	a, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
}
