// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// transport carries datagrams to and from the kernel.
type transport interface {
	send(b []byte) error
	// receive reads the kernel's next datagram into b and returns its length.
	receive(b []byte) (int, error)
	// receiveMany reads at least one and at most n of the kernel's next datagrams into s, which has no unread one.
	receiveMany(s *slots, n int) error
	netnsCookie() (uint64, error)
	close() error
}

// netlinkSocket is a NETLINK_SOCK_DIAG socket. The kernel queues the answers to a request during send, those of a dump
// during receive, so no receive has to wait. Unlike the sockets of vishvananda/netlink's package nl it is not registered
// with the Go runtime's poller, which every answer would wake: lookups in a pipeline would cost half as much CPU again.
type netlinkSocket struct {
	fd   int
	args recvArgs
}

func openNetlink() (*netlinkSocket, error) {
	const typ = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, typ, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	// Three times the answers to a chunk, even if net.core.rmem_default is small.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 128<<10); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// An ACK without a copy of the request is shorter (Linux 4.3).
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &netlinkSocket{fd: fd}, nil
}

func (s *netlinkSocket) close() error { return unix.Close(s.fd) }

func (s *netlinkSocket) netnsCookie() (uint64, error) {
	return unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func (s *netlinkSocket) send(b []byte) error {
	for {
		// A datagram without an address goes to the kernel.
		n, err := unix.Write(s.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n != len(b):
			return fmt.Errorf("sent %d of %d bytes", n, len(b))
		}
		return nil
	}
}

// answerWait is the timeout for an answer that should be queued already, in milliseconds.
const answerWait = 200

func (s *netlinkSocket) receive(b []byte) (int, error) {
	for waited := false; ; {
		n, errno := s.args.recvmsg(s.fd, b)
		switch {
		case errno != 0:
			if err := s.failed(errno, &waited); err != nil {
				return 0, err
			}
			continue
		case s.args.from.Pid != 0:
			continue // not from the kernel: another process sent it to our port
		case s.args.msg.Flags&unix.MSG_TRUNC != 0:
			return 0, truncated(len(b))
		}
		return n, nil
	}
}

func (s *netlinkSocket) receiveMany(to *slots, n int) error {
	for waited := false; ; {
		got, errno := to.args.recvmmsg(s.fd, min(n, slotCount))
		if errno != 0 {
			if err := s.failed(errno, &waited); err != nil {
				return err
			}
			continue
		}
		to.at, to.n = 0, 0
		for i := range got {
			if to.args.froms[i].Pid == 0 { // else another process sent it
				msg := &to.args.msgs[i]
				to.add(i, int(msg.len), msg.hdr.Flags&unix.MSG_TRUNC != 0)
			}
		}
		if to.unread() {
			return nil
		}
	}
}

// failed returns the error for an errno of a receive, or nil if the caller should retry.
func (s *netlinkSocket) failed(errno unix.Errno, waited *bool) error {
	switch {
	case errno == unix.EINTR:
		return nil
	case errno == unix.EAGAIN && !*waited:
		*waited = true
		s.wait()
		return nil
	case errno == unix.EAGAIN:
		return fmt.Errorf("%w: %w", errNoAnswer, errno)
	}
	return errno
}

// wait waits for a datagram, at most answerWait.
func (s *netlinkSocket) wait() {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, answerWait); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
