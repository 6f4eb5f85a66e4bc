// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// chunk is how many requests go out at once: few enough for their answers, of which one takes some 1.3 KB of
// the socket's receive buffer, to fit it several times over.
const chunk = 32

// Lookup asks the kernel for one socket, tcp_info included. It needs no privilege. It returns [ErrGone] when
// there is no socket with this family, these addresses and ports, and this cookie.
//
// The interface in the ID is where the kernel looks: a socket bound to a device is found only with the
// device's index there, as a dump reports it.
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

// LookupAll looks up many sockets and calls visit for each, in order: with the index into ids and either the
// socket or the error that [Conn.Lookup] would return. The requests are pipelined, 32 at a time, so a state
// that is reported may be older than the last answer by that much. The Socket is reused between calls; visit
// must not use the Conn, nor change ids past i.
//
// An error returned by LookupAll itself means that the conversation with the kernel failed: of the sockets
// that were not visited nothing is known, and the Conn is of no more use.
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

// Destroy aborts one socket (SOCK_DESTROY) and reads the kernel's answer: nil when the socket was destroyed,
// [ErrGone] when it was there no more, [ErrUnsupported] or [ErrDenied] when that cannot be done here. The
// kernel checks the cookie but not the state: look first.
//
// In CLOSE_WAIT the owner then reads its end of file as before and its writes fail with ECONNABORTED, and the
// peer's reads fail with ECONNRESET. In FIN_WAIT2 the owner's reads fail with ECONNABORTED, and the peer reads
// its end of file and its writes fail with EPIPE. No TIME_WAIT is left.
//
// It needs CAP_NET_ADMIN in the user namespace that owns the network namespace. Leave sockets without an owner
// (inode 0) to the kernel: before Linux 6.11 an orphan that is destroyed stays for ever.
func (c *Conn) Destroy(id ID) (err error) {
	c.one[0] = id
	if terr := c.DestroyAll(c.one[:], nil, func(_ int, e error) { err = e }); terr != nil {
		return terr
	}
	return err
}

// DestroyAll destroys many sockets and calls visit for each, in order: with the index into ids and what
// [Conn.Destroy] would return. It sends each request on its own, which the kernel handles before the next is sent, and
// reads the answers of 32 together. Right before it sends a request it calls ready, unless that is nil; where ready
// returns false it does not send the request, and visit gets [ErrNotReady]. Neither function may use the Conn, nor
// change ids past i.
//
// An error returned by DestroyAll itself means that the conversation with the kernel failed: of the sockets
// that were not visited up to 32 may have been destroyed, and the Conn is of no more use.
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

// pipelined is how the requests of a pipeline are sent.
type pipelined struct {
	request func(b []byte, seq uint32, id *ID) []byte
	single  bool             // each in a datagram of its own
	ready   func(i int) bool // whether it is sent, asked right before; nil for all
}

// pipeline sends a request for each id, and hands the one answer of each to answer, in order, a chunk at a time. An id
// that names no socket is not sent: answer gets ErrBadID. Nor is one that is not ready: answer gets ErrNotReady.
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

// sendChunk sends the requests for a chunk of ids, of which the first has the index first and the sequence number seq.
// It returns for each why it was not sent, nil if it was.
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
