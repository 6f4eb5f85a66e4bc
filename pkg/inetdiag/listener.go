// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HasListenerAll finds out for many connections whether an open listener would accept a SYN from the same peer to the same
// local address, port and interface. The kernel decides: wildcard addresses, IPV6_V6ONLY and SO_BINDTODEVICE count. It
// calls visit for each connection, in order, with the index into ids and the result or an error. It needs no privilege, and
// costs 3 to 5 us per connection.
//
// A listener shows that the connection was accepted, unless a client binds its socket to a listening port (SO_REUSEPORT).
// No listener shows nothing: it may have closed.
//
// Otherwise HasListenerAll is like [Conn.LookupAll].
func (c *Conn) HasListenerAll(ids []ID, visit func(i int, has bool, err error)) error {
	if err := c.begin(); err != nil {
		return err
	}
	return c.end(c.pipeline(ids, pipelined{request: appendListenerLookup}, func(i int, m message, err error) error {
		if err != nil {
			visit(i, false, err)
			return nil
		}
		switch m.typ {
		case unix.NLMSG_ERROR:
			errno, err := parseErrno(m)
			if err == nil && errno == 0 {
				err = errNotAsked
			}
			if err != nil {
				return fmt.Errorf("look up listener: %w", err)
			}
			if errno == unix.ENOENT {
				visit(i, false, nil)
			} else {
				visit(i, false, fmt.Errorf("look up listener: %w", errno))
			}
			return nil
		case typeByFamily:
			if err := parseSocket(m.data, &c.socket); err != nil {
				return fmt.Errorf("look up listener: %w", err)
			}
			visit(i, c.socket.State == Listen, nil)
			return nil
		}
		return fmt.Errorf("look up listener: answer of type %d", m.typ)
	}))
}
