// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn is a sock_diag socket in one network namespace. It is not safe for concurrent use.
//
// If a request or an answer is lost, the Conn cannot match later answers to requests. From then on every method
// returns the error of that loss: close the Conn and open another.
type Conn struct {
	t   transport
	err error // of each later use; nil: the Conn is free
	seq uint32
	out []byte // requests to send
	in  []byte // buffer for a datagram
	got []byte // unread rest of the last datagram

	slots *slots // buffers of a pipeline; kept after it while they have unread answers
	left  int    // answers of the pipeline that have not been received

	one      [1]ID               // argument of Lookup and Destroy
	socket   Socket              // argument of visit functions
	seen     map[uint64]struct{} // cookies that the dump has reported
	noLegacy bool                // the kernel refused the legacy dump
}

// recvSize is the length of a receive buffer in bytes. In a dump the kernel fills a buffer of up to 32 KiB
// (netlink_dump of net/netlink/af_netlink.c).
const recvSize = 32 << 10

// Open opens a sock_diag socket in the network namespace of the calling thread. It needs no privilege. The Conn pins the
// network namespace until it is closed. To open a Conn in another network namespace, lock the thread
// (runtime.LockOSThread) and call setns(2) first.
func Open() (*Conn, error) {
	t, err := openNetlink()
	if err != nil {
		return nil, &OpenError{err}
	}
	return &Conn{t: t}, nil
}

// Close closes the socket. Closing again does nothing.
func (c *Conn) Close() error {
	if c.t == nil {
		return nil
	}
	t := c.t
	c.t, c.err = nil, errClosed
	if err := t.close(); err != nil {
		return fmt.Errorf("close sock_diag socket: %w", err)
	}
	return nil
}

// NetnsCookie returns the cookie of the network namespace (SO_NETNS_COOKIE, Linux 5.14), which is unique since the machine
// booted. On an older kernel the error is ENOPROTOOPT.
func (c *Conn) NetnsCookie() (uint64, error) {
	if c.t == nil {
		return 0, errClosed
	}
	cookie, err := c.t.netnsCookie()
	if err != nil {
		return 0, fmt.Errorf("get netns cookie (SO_NETNS_COOKIE, Linux 5.14): %w", err)
	}
	return cookie, nil
}

// begin claims the Conn for one operation. If a visit function panics, the Conn stays claimed.
func (c *Conn) begin() error {
	if c.err != nil {
		return fmt.Errorf("use sock_diag socket: %w", c.err)
	}
	c.err = errBusy
	return nil
}

// end releases the Conn, except after an error of the transport.
func (c *Conn) end(err error) error {
	c.left = 0
	if err == nil && c.slots != nil && len(c.got) == 0 && !c.slots.unread() {
		slotPool.Put(c.slots)
		c.slots = nil
	}
	if c.t != nil { // else visit has closed it, and c.err is errClosed
		c.err = err
	}
	return err
}

// sendOut sends the requests in c.out.
func (c *Conn) sendOut() error {
	if c.t == nil {
		return errClosed
	}
	if err := c.t.send(c.out); err != nil {
		return fmt.Errorf("send sock_diag request: %w", err)
	}
	return nil
}

// next returns the next message. A message that does not answer request seq is an error.
func (c *Conn) next(seq uint32) (message, error) {
	for {
		if c.t == nil {
			return message{}, errClosed
		}
		if len(c.got) == 0 {
			var err error
			if c.got, err = c.receive(); err != nil {
				return message{}, fmt.Errorf("receive sock_diag answer: %w", err)
			}
		}
		m, rest, err := parseMessage(c.got)
		if err != nil {
			return message{}, fmt.Errorf("receive sock_diag answer: %w", err)
		}
		c.got = rest
		switch {
		case m.typ == unix.NLMSG_NOOP:
			continue
		case m.typ == unix.NLMSG_OVERRUN:
			return message{}, fmt.Errorf("receive sock_diag answer: data lost: %w", unix.ENOBUFS)
		case m.seq != seq:
			return message{}, fmt.Errorf("receive sock_diag answer: it answers request %d, not %d", m.seq, seq)
		}
		c.left--
		return m, nil
	}
}

// receive returns the next datagram.
func (c *Conn) receive() ([]byte, error) {
	if c.slots != nil {
		if !c.slots.unread() && c.left > 0 {
			if err := c.t.receiveMany(c.slots, c.left); err != nil {
				return nil, err
			}
		}
		if c.slots.unread() {
			return c.slots.take()
		}
	}
	if c.in == nil {
		c.in = make([]byte, recvSize)
	}
	n, err := c.t.receive(c.in)
	return c.in[:n], err
}

// expect prepares for the answers to n requests.
func (c *Conn) expect(n int) {
	c.left = n
	if n > 1 && c.slots == nil {
		c.slots = slotPool.Get().(*slots)
	}
}
