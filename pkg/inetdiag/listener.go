// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HasListenerAll asks for many connections whether a listener is open that would accept a SYN of the same peer for
// the same local address, port and interface, by the kernel's own rules: wildcard addresses, IPV6_V6ONLY and
// SO_BINDTODEVICE count. It calls visit for each, in order: with the index into ids and the answer, or with an error
// where the kernel does not give one. It needs no privilege, and costs 3 to 5 us a connection.
//
// A listener proves that its side was not connected from here only as far as no client calls bind(2) on a listening
// port (SO_REUSEPORT). That there is no listener proves nothing: it may have closed.
//
// Otherwise HasListenerAll is as [Conn.LookupAll].
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
