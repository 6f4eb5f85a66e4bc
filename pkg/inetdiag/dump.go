// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Filter selects the sockets of a dump. The kernel applies it.
type Filter struct {
	// States are the states to report. The empty set reports nothing.
	States States
	// Family is AF_INET, AF_INET6 (including v4-mapped sockets), or AF_UNSPEC (0) for both.
	Family uint8
	// Info requests tcp_info and the ULP. The answers are longer.
	Info bool
	// NoLegacy dumps both families in two walks, although one legacy walk does both.
	NoLegacy bool
}

// Dump calls visit once for each socket that the kernel reports. It needs no privilege. The next call of visit reuses the
// *Socket, and visit must not use the Conn. If visit returns an error, Dump drops the remaining answers and returns that
// error unchanged; the Conn stays usable.
//
// A dump is no snapshot: it can miss a socket that exists all the time. It never reports the same cookie twice.
//
// One TCPDIAG_GETSOCK dumps both families in one walk over the kernel's table. If the kernel refuses it, this Conn uses
// SOCK_DIAG_BY_FAMILY from then on, one family after the other.
func (c *Conn) Dump(f Filter, visit func(*Socket) error) error {
	if f.Family != unix.AF_UNSPEC && f.Family != unix.AF_INET && f.Family != unix.AF_INET6 {
		return fmt.Errorf("dump sockets: family %d is neither AF_INET, AF_INET6 nor AF_UNSPEC", f.Family)
	}
	if err := c.begin(); err != nil {
		return err
	}
	d := dump{c: c, visit: visit}
	if c.seen == nil {
		c.seen = make(map[uint64]struct{})
	}
	clear(c.seen)
	if f.States != 0 {
		d.run(f)
	}
	if err := c.end(d.transport); err != nil {
		return fmt.Errorf("dump sockets: %w", err)
	}
	if d.stop != nil {
		return d.stop
	}
	return d.kernel
}

// CheckTCP returns ErrNoTCP if the kernel does not answer about TCP sockets: it answers ENOENT then, as about a socket that
// does not exist. It needs no privilege, and costs a few microseconds.
func (c *Conn) CheckTCP() error {
	if err := c.begin(); err != nil {
		return err
	}
	d := dump{c: c, visit: func(*Socket) error { return nil }}
	d.run(Filter{Family: unix.AF_INET}) // with no states the kernel reads no table
	if err := c.end(d.transport); err != nil {
		return fmt.Errorf("check sock_diag: %w", err)
	}
	return d.kernel
}

// dump is one call of Dump.
type dump struct {
	c         *Conn
	visit     func(*Socket) error
	stop      error // of visit
	kernel    error // the kernel's refusal
	transport error
}

func (d *dump) run(f Filter) {
	var ext uint8
	if f.Info {
		ext = extInfo
	}
	c := d.c
	if f.Family == unix.AF_UNSPEC && !f.NoLegacy && !c.noLegacy {
		c.seq++
		c.out = appendLegacyDump(c.out[:0], c.seq, f.States, ext)
		errno, answered := d.walk()
		if d.transport != nil || answered || !refused(errno) {
			d.setKernel(errno)
			return
		}
		c.noLegacy = true
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if f.Family != unix.AF_UNSPEC && f.Family != family {
			continue
		}
		c.seq++
		c.out = appendDump(c.out[:0], c.seq, family, f.States, ext)
		errno, _ := d.walk()
		if errno == unix.ENOENT && family == unix.AF_INET6 && f.Family == unix.AF_UNSPEC {
			errno = 0 // a kernel without IPv6
		}
		if d.setKernel(errno); d.kernel != nil || d.transport != nil || d.stop != nil {
			return
		}
	}
}

// refused reports whether an errno in the first answer means that the kernel does not know the request.
func refused(errno unix.Errno) bool {
	switch errno {
	case unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT:
		return true
	}
	return false
}

func (d *dump) setKernel(errno unix.Errno) {
	switch errno {
	case 0:
	case unix.ENOENT:
		d.kernel = fmt.Errorf("dump sockets: %w", ErrNoTCP)
	default:
		d.kernel = fmt.Errorf("dump sockets: %w", errno)
	}
}

// walk sends the request in c.out and reads all answers. It returns the errno of the last answer, and whether the kernel
// reported a socket before it.
func (d *dump) walk() (errno unix.Errno, answered bool) {
	c := d.c
	if d.transport = c.sendOut(); d.transport != nil {
		return 0, false
	}
	for {
		var m message
		if m, d.transport = c.next(c.seq); d.transport != nil {
			return 0, answered
		}
		switch m.typ {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			errno, d.transport = parseErrno(m)
			if d.transport == nil && m.typ == unix.NLMSG_ERROR && errno == 0 {
				d.transport = errNotAsked
			}
			return errno, answered
		case typeLegacy, typeByFamily:
			answered = true
			if d.transport = d.report(m.data); d.transport != nil {
				return 0, answered
			}
		default:
			d.transport = fmt.Errorf("answer of type %d", m.typ)
			return 0, answered
		}
	}
}

// report calls visit with a socket, except for a repeat and after an error of visit.
func (d *dump) report(b []byte) error {
	c := d.c
	if d.stop != nil {
		return nil
	}
	if err := parseSocket(b, &c.socket); err != nil {
		return err
	}
	cookie := c.socket.ID.Cookie()
	if _, repeated := c.seen[cookie]; repeated {
		return nil
	}
	c.seen[cookie] = struct{}{}
	d.stop = d.visit(&c.socket)
	return nil
}
