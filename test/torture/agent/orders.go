// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/model"
)

// carryOut carries out an order.
func (a *agent) carryOut(o Order, answer *Answer) error {
	switch o.Op {
	case Listen:
		return a.listen(o, answer)
	case Connect:
		return a.connect(o, answer)
	case Accept:
		return a.accept(o, answer)
	case Rename:
		return os.WriteFile("/proc/self/comm", []byte(o.Address), 0)
	}
	if o.Op == Close && o.Listener != "" {
		a.mu.Lock()
		fd := a.listeners[o.Listener]
		delete(a.listeners, o.Listener)
		a.mu.Unlock()
		return unix.Close(fd)
	}
	c, err := a.conn(o.Conn)
	if err != nil {
		return err
	}
	switch o.Op {
	case Reconnect:
		return a.reconnect(c, o, answer)
	case Shut:
		answer.Before = model.Now()
		return unix.Shutdown(c.fd, unix.SHUT_WR)
	case Await:
		return await(o.Patience, func() error {
			if s := stateOf(c.fd); s != o.State {
				return fmt.Errorf("state %d, not %d", s, o.State)
			}
			return nil
		})
	case Write:
		if err := c.write(o.N, o.Patience); err != nil || o.Unacked {
			return err
		}
		return await(o.Patience, func() error { // until the peer has acknowledged it
			queued, err := unix.IoctlGetInt(c.fd, unix.SIOCOUTQ)
			if err == nil && queued > 0 {
				err = fmt.Errorf("%d bytes are not acknowledged", queued)
			}
			return err
		})
	case Read:
		answer.N, answer.Wrong, err = c.readN(o.N, o.Patience)
		return err
	case Close:
		return a.unwatch(c)
	case Forget:
		if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
			return err
		}
		return a.unwatch(c)
	case Silence: // a filter that drops each segment before TCP sees it
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		return unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	case Hear:
		return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	case Finish:
		return a.finish(c, o, answer)
	}
	return errors.New("unknown operation")
}

// finish waits until the socket has its own options again, reads all unread bytes, and closes. A question to the peer
// changes the options until its answer.
func (a *agent) finish(c *conn, o Order, answer *Answer) error {
	err := await(o.Patience, func() (err error) {
		if answer.Options, err = readOptions(c.fd); err == nil && *answer.Options != *o.Options {
			err = errors.New("the options differ")
		}
		return err
	})
	if answer.Options == nil {
		return err
	}
	a.reportEnd(c)
	answer.Before = model.Now()
	for {
		n, wrong, err := c.readSome(1 << 16)
		answer.N, answer.Wrong = answer.N+n, answer.Wrong || wrong
		if n <= 0 || err != nil {
			break
		}
	}
	return a.unwatch(c)
}

// socket creates a socket for an address, without waiting system calls.
func socket(address netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if address.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

func (a *agent) listen(o Order, answer *Answer) error {
	address, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return err
	}
	fd, err := socket(address)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, sockaddr(address)), unix.Listen(fd, 512)); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	answer.Port, _ = portOf(fd)
	a.mu.Lock()
	a.listeners[o.Listener] = fd
	a.mu.Unlock()
	return nil
}

func portOf(fd int) (int, string) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, ""
	}
	switch s := name.(type) {
	case *unix.SockaddrInet4:
		return s.Port, netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)).String()
	case *unix.SockaddrInet6:
		return s.Port, netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port)).String()
	}
	return 0, ""
}

func (a *agent) connect(o Order, answer *Answer) error {
	address, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return err
	}
	fd, err := socket(address)
	if err != nil {
		return err
	}
	if o.Local != "" {
		local, err := netip.ParseAddrPort(o.Local)
		if err == nil {
			err = unix.Bind(fd, sockaddr(local))
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
	}
	if err := errors.Join(connect(fd, address, o.Patience), setOptions(fd, o.Options)); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	return a.add(o.Conn, fd, answer)
}

// connect connects a socket, and waits until it is connected.
func connect(fd int, address netip.AddrPort, patience time.Duration) error {
	if err := unix.Connect(fd, sockaddr(address)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return await(patience, func() error {
		if errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			return cmp.Or[error](err, unix.Errno(errno))
		}
		if s := stateOf(fd); s == unix.BPF_TCP_SYN_SENT {
			return errors.New("not connected")
		}
		return nil
	})
}

// add adds a new connection.
func (a *agent) add(name string, fd int, answer *Answer) error {
	answer.Port, answer.Local = portOf(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err == nil {
		answer.Cookie = cookie
		_, err = a.watch(name, fd)
	}
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	answer.Options, err = readOptions(fd)
	return err
}

func (a *agent) accept(o Order, answer *Answer) error {
	a.mu.Lock()
	listener, ok := a.listeners[o.Listener]
	a.mu.Unlock()
	if !ok {
		return errors.New("no such listener")
	}
	var fd int
	err := await(o.Patience, func() (err error) {
		answer.Before = model.Now()
		fd, _, err = unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return err
	})
	if err != nil {
		return err
	}
	if err := setOptions(fd, o.Options); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	return a.add(o.Conn, fd, answer)
}

// reconnect disconnects a socket and connects it again: it keeps its cookie.
func (a *agent) reconnect(c *conn, o Order, answer *Answer) error {
	address, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return err
	}
	a.reportEnd(c)
	a.mu.Lock()
	c.ended = true // the disconnect is no end
	a.mu.Unlock()
	answer.Before = model.Now()
	// connect(2): AF_UNSPEC dissolves the association.
	if err := disconnect(c.fd); err != nil {
		return fmt.Errorf("disconnect: %w", err)
	}
	if err := connect(c.fd, address, o.Patience); err != nil {
		return err
	}
	a.mu.Lock()
	c.ended, c.read, c.written = false, 0, 0
	a.mu.Unlock()
	answer.Port, answer.Local = portOf(c.fd)
	return nil
}

// await calls try until it succeeds.
func await(patience time.Duration, try func() error) error {
	if patience == 0 {
		patience = 30 * time.Second
	}
	for end, pause := model.Now()+patience, 100*time.Microsecond; ; {
		err := try()
		if err == nil || model.Now() > end {
			return err
		}
		time.Sleep(pause)
		pause = min(pause*2, 10*time.Millisecond)
	}
}

// write writes n bytes.
func (c *conn) write(n int, patience time.Duration) error {
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern(c.written + i)
	}
	return await(patience, func() error {
		for len(b) > 0 {
			n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_NOSIGNAL)
			if err != nil {
				return err
			}
			c.written, b = c.written+n, b[n:]
		}
		return nil
	})
}

// readN reads n bytes, and compares them.
func (c *conn) readN(n int, patience time.Duration) (got int, wrong bool, err error) {
	err = await(patience, func() error {
		for got < n {
			m, bad, err := c.readSome(n - got)
			if err != nil {
				return err
			}
			if m == 0 {
				return errors.New("end of file")
			}
			got, wrong = got+m, wrong || bad
		}
		return nil
	})
	return got, wrong, err
}

func (c *conn) readSome(limit int) (n int, wrong bool, err error) {
	b := make([]byte, limit)
	n, err = unix.Read(c.fd, b)
	if n < 0 {
		n = 0
	}
	for i := range b[:n] {
		wrong = wrong || b[i] != pattern(c.read+i)
	}
	c.read += n
	return n, wrong, err
}
