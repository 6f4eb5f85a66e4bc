// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// transport carries datagrams to and from the kernel.
type transport interface {
	send(b []byte) error
	// receive puts the kernel's next datagram in b and returns its length.
	receive(b []byte) (int, error)
	// receiveMany fills s, which has nothing unread, with one at least and at most n of the kernel's next
	// datagrams.
	receiveMany(s *slots, n int) error
	netnsCookie() (uint64, error)
	close() error
}

// netlinkSocket is a NETLINK_SOCK_DIAG socket. The kernel handles a request inside send and queues the
// answers there, or, in a dump, inside receive: there is never a reason to wait for one. So, unlike those of
// vishvananda/netlink's package nl, the socket is not registered with the Go runtime's poller, which every
// answer would wake: look-ups in a pipeline take half as much CPU again if it is.
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
		n, errno := s.args.recvmsg(s.fd, b)
		switch {
		case errno != 0:
			if err := s.failed(errno, &waited); err != nil {
				return 0, err
			}
			continue
		case s.args.from.Pid != 0:
			continue // not from the kernel: another process found our port
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
			if to.args.froms[i].Pid == 0 { // else as above
				msg := &to.args.msgs[i]
				to.add(i, int(msg.len), msg.hdr.Flags&unix.MSG_TRUNC != 0)
			}
		}
		if to.unread() {
			return nil
		}
	}
}

// failed returns the error that an errno of receiving is, or nil after it did what another try needs.
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

// wait returns when there is something to receive or after answerWait.
func (s *netlinkSocket) wait() {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, answerWait); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
