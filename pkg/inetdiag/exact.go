// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// chunk is how many requests one pipeline has in flight. An answer takes about 1.3 KB of the socket's receive buffer of
// 128 KiB, so the answers fit three times.
const chunk = 32

// Lookup returns one socket, with tcp_info. It needs no privilege. It returns [ErrGone] if no socket has this family, these
// addresses and ports, and this cookie.
//
// The kernel compares the interface in the ID too: a socket that is bound to a device is found only with the device's
// index, as a dump reports it.
func (c *Conn) Lookup(id ID) (s Socket, err error) {
	c.one[0] = id
	if terr := c.LookupAll(c.one[:], func(_ int, found *Socket, e error) {
		if err = e; e == nil {
			s = *found
		}
	}); terr != nil {
		return Socket{}, terr
	}
	return s, err
}

// LookupAll looks up many sockets. It calls visit for each, in order, with the index into ids and either the socket or the
// error that [Conn.Lookup] would return. It sends 32 requests at a time, so the kernel may have read a socket before visit
// was called for up to 31 others. The next call of visit reuses the Socket. visit must not use the Conn, nor change ids
// after i.
//
// If LookupAll itself returns an error, the exchange with the kernel failed: the remaining sockets are unknown, and the
// Conn cannot be used any more.
func (c *Conn) LookupAll(ids []ID, visit func(i int, s *Socket, err error)) error {
	if err := c.begin(); err != nil {
		return err
	}
	return c.end(c.pipeline(ids, pipelined{request: appendLookup}, func(i int, m message, err error) error {
		if err != nil {
			visit(i, nil, err)
			return nil
		}
		if m.typ == unix.NLMSG_ERROR {
			errno, err := parseErrno(m)
			if err == nil && errno == 0 {
				err = errNotAsked
			}
			if err != nil {
				return fmt.Errorf("look up socket: %w", err)
			}
			visit(i, nil, lookupError(errno))
			return nil
		}
		if m.typ != typeByFamily {
			return fmt.Errorf("look up socket: answer of type %d", m.typ)
		}
		if err := parseSocket(m.data, &c.socket); err != nil {
			return fmt.Errorf("look up socket: %w", err)
		}
		if !c.socket.ID.sameSocket(&ids[i]) {
			visit(i, nil, ErrGone)
			return nil
		}
		visit(i, &c.socket, nil)
		return nil
	}))
}

// Destroy aborts one socket (SOCK_DESTROY). It returns nil if the kernel has destroyed the socket, [ErrGone] if it does not
// exist any more, and [ErrUnsupported] or [ErrDenied] if the kernel or the privileges do not allow it. The kernel compares
// the cookie but not the state: look the socket up first.
//
// In CLOSE_WAIT the owner still reads end of file and its writes fail with ECONNABORTED; the peer's reads fail with
// ECONNRESET. In FIN_WAIT2 the owner's reads fail with ECONNABORTED; the peer reads end of file and its writes fail with
// EPIPE. No TIME_WAIT remains.
//
// It needs CAP_NET_ADMIN in the user namespace that owns the network namespace. Do not destroy sockets without an owner
// (inode 0): before Linux 6.11 a destroyed orphan stays for ever.
func (c *Conn) Destroy(id ID) (err error) {
	c.one[0] = id
	if terr := c.DestroyAll(c.one[:], nil, func(_ int, e error) { err = e }); terr != nil {
		return terr
	}
	return err
}

// DestroyAll destroys many sockets. It calls visit for each, in order, with the index into ids and the result that
// [Conn.Destroy] would return. The kernel handles each request before DestroyAll sends the next one; the answers are read
// 32 at a time. Right before each request DestroyAll calls ready, unless that is nil. If ready returns false the request is
// not sent, and visit gets [ErrNotReady]. Neither function may use the Conn, nor change ids after i.
//
// If DestroyAll itself returns an error, the exchange with the kernel failed: up to 32 of the remaining sockets may have
// been destroyed, and the Conn cannot be used any more.
func (c *Conn) DestroyAll(ids []ID, ready func(i int) bool, visit func(i int, err error)) error {
	if err := c.begin(); err != nil {
		return err
	}
	return c.end(c.pipeline(ids, pipelined{request: appendDestroy, single: true, ready: ready}, func(i int, m message, err error) error {
		if err != nil {
			visit(i, err)
			return nil
		}
		if m.typ != unix.NLMSG_ERROR {
			return fmt.Errorf("destroy socket: answer of type %d", m.typ)
		}
		errno, err := parseErrno(m)
		if err != nil {
			return fmt.Errorf("destroy socket: %w", err)
		}
		visit(i, destroyError(errno))
		return nil
	}))
}

// pipelined is how a pipeline sends its requests.
type pipelined struct {
	request func(b []byte, seq uint32, id *ID) []byte
	single  bool             // one request per datagram
	ready   func(i int) bool // reports whether to send request i; nil: send all
}

// pipeline sends a request for each id, a chunk at a time, and calls answer with the one answer to each, in order. It does
// not send an id that names no socket, for which answer gets ErrBadID, nor one that is not ready (ErrNotReady).
func (c *Conn) pipeline(ids []ID, p pipelined, answer func(i int, m message, err error) error) error {
	for start := 0; start < len(ids); start += chunk {
		end := min(start+chunk, len(ids))
		seq := c.seq + 1
		c.seq += uint32(end - start)
		unsent, err := c.sendChunk(ids[start:end], seq, start, p)
		if err != nil {
			return err
		}
		for i := start; i < end; i++ {
			var m message
			if unsent[i-start] == nil {
				if m, err = c.next(seq + uint32(i-start)); err != nil {
					return err
				}
			}
			if err = answer(i, m, unsent[i-start]); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendChunk sends the requests for a chunk of ids. The first one has the index first and the sequence number seq. unsent
// has the reason for each request that it does not send.
func (c *Conn) sendChunk(ids []ID, seq uint32, first int, p pipelined) (unsent [chunk]error, err error) {
	c.out = c.out[:0]
	sent := 0
	for i := range ids {
		switch {
		case !ids[i].namesOne():
			unsent[i] = ErrBadID
			continue
		case p.ready != nil && !p.ready(first+i):
			unsent[i] = ErrNotReady
			continue
		}
		sent++
		c.out = p.request(c.out, seq+uint32(i), &ids[i])
		if p.single {
			if err := c.sendOut(); err != nil {
				return unsent, err
			}
			c.out = c.out[:0]
		}
	}
	if len(c.out) > 0 {
		if err := c.sendOut(); err != nil {
			return unsent, err
		}
	}
	c.expect(sent)
	return unsent, nil
}
