// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// transport carries datagrams to and from the kernel.
type transport interface {
	send(b []byte) error
	// receive puts the kernel's next datagram in b and returns its length.
	receive(b []byte) (int, error)
	netnsCookie() (uint64, error)
	close() error
}

// netlinkSocket is a NETLINK_SOCK_DIAG socket. The kernel handles a request inside send and queues the
// answers there, or, in a dump, inside receive: there is never a reason to wait for one. So, unlike those of
// vishvananda/netlink's package nl, the socket is not registered with the Go runtime's poller, which every
// answer would wake: look-ups in a pipeline take half as much CPU again if it is.
type netlinkSocket struct {
	fd int
	// The arguments of recvmsg. They live here so that giving the kernel their addresses costs no allocation.
	from unix.RawSockaddrNetlink
	iov  unix.Iovec
	msg  unix.Msghdr
}

func openNetlink() (*netlinkSocket, error) {
	const typ = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, typ, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	// Room for the answers to a chunk, and twice as much again, even where net.core.rmem_default is small.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 128<<10); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// An ACK need not echo the request. Before Linux 4.3, which cannot do this, it does, and is longer.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &netlinkSocket{fd: fd}, nil
}

func (s *netlinkSocket) close() error { return unix.Close(s.fd) }

func (s *netlinkSocket) netnsCookie() (uint64, error) {
	return unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func (s *netlinkSocket) send(b []byte) error {
	for {
		// What has no address goes to the kernel.
		n, err := unix.Write(s.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n != len(b):
			return fmt.Errorf("%d of %d bytes went out", n, len(b))
		}
		return nil
	}
}

// answerWait is for how many milliseconds an answer that ought to be there is waited for after all.
const answerWait = 200

func (s *netlinkSocket) receive(b []byte) (int, error) {
	for waited := false; ; {
		n, errno := s.recvmsg(b)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN && !waited:
			waited = true
			s.wait()
			continue
		case errno == unix.EAGAIN:
			return 0, fmt.Errorf("%w: %w", errNoAnswer, errno)
		case errno != 0:
			return 0, errno
		case s.from.Pid != 0:
			continue // not from the kernel: another process found our port
		case s.msg.Flags&unix.MSG_TRUNC != 0:
			return 0, fmt.Errorf("answer is longer than %d bytes: %w", len(b), unix.EMSGSIZE)
		}
		return n, nil
	}
}

// wait returns when there is something to receive or after answerWait.
func (s *netlinkSocket) wait() {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, answerWait); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// recvmsg is recvmsg(2) without the allocations of x/sys.
func (s *netlinkSocket) recvmsg(b []byte) (int, unix.Errno) {
	s.from = unix.RawSockaddrNetlink{}
	s.iov.Base = unsafe.SliceData(b)
	s.iov.SetLen(len(b))
	s.msg = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&s.from)),
		Namelen: unix.SizeofSockaddrNetlink,
		Iov:     &s.iov,
	}
	s.msg.SetIovlen(1)
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
