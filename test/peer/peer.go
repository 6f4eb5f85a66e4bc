// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package peer is the process of a container in tests and demo: it has connections to others of its kind, and
// does with them what it is told.
package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Port is where a peer listens, TLSPort where it listens for TLS after the order tls.
const (
	Port    = 8080
	TLSPort = 8443
)

// Socket is where a peer of a container takes its orders, for who cannot reach its stdin: an abstract socket
// (unix(7)), which every process in its network namespace can connect to, and no other.
const Socket = "@halfclose-peer"

// Peer has connections, each with a name.
type Peer struct {
	mu    sync.Mutex
	conns map[string]*connection
	named chan struct{} // has a value whenever a connection came in
}

type connection struct {
	*net.TCPConn
	secured *tls.Conn    // over TCPConn; nil without TLS
	moved   atomic.Int64 // bytes that stream or drain have moved
}

// New returns a peer that does not listen. Its process is shown under the given name.
func New(name string) (*Peer, error) {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return nil, err
	}
	return &Peer{conns: make(map[string]*connection), named: make(chan struct{}, 1)}, nil
}

// Listen makes a peer that takes connections in, on every address. Its process is shown under the given name. No
// connection has keepalive on, as Go would have it: the application would find out on its own that its peer is gone.
func Listen(name string) (*Peer, error) {
	p, err := New(name)
	if err != nil {
		return nil, err
	}
	l, err := listenAt(Port)
	if err != nil {
		return nil, err
	}
	go p.accept(l)
	return p, nil
}

func listenAt(port int) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	return config.Listen(context.Background(), "tcp4", ":"+strconv.Itoa(port))
}

// Serve does what it is told, one order a line, until there are no more, and answers each with a line; the
// first is "ready". The orders, with the name of a connection:
//
//	open NAME ADDRESS   makes it to the peer at the address, and answers with its own end
//	inherit NAME FD     is a connection that the process was started with
//	wait NAME           until it is there
//	close NAME, shut NAME   both directions, or the one to the other end
//	stream NAME, drain NAME   sends without end, or reads
//	moved NAME          answers with the bytes that those have moved
//	send NAME WORD, recv NAME   a line; what the kernel says in the place of one is answered by name
//	drop NAME           reads all that is left, and answers with their number and how the stream ends
//	options NAME        answers with the options of keepalive
//
// Without a connection:
//
//	tls                 listens on TLSPort too, for openTLS
//	openTLS NAME ADDRESS   is open over TLS, with an answer that it reads; close ends TLS first, as a polite server does
func (p *Peer) Serve(in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	orders := bufio.NewScanner(in)
	for orders.Scan() {
		word := append(strings.Fields(orders.Text()), "", "", "")
		answer, err := p.obey(word[0], word[1], word[2])
		if err != nil {
			answer = "error: " + err.Error()
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return orders.Err()
}

// accept takes connections in; the first line on each is its name.
func (p *Peer) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		name, err := readName(c)
		if err != nil {
			c.Close()
			continue
		}
		p.add(name, c)
	}
}

// readName reads up to the end of a line and no further: the rest is not ours to read.
func readName(c io.Reader) (string, error) {
	var name []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(name), nil
		}
		name = append(name, b[0])
	}
}

func (p *Peer) add(name string, c net.Conn) {
	conn := &connection{}
	if secured, ok := c.(*tls.Conn); ok {
		conn.secured, c = secured, secured.NetConn()
	}
	conn.TCPConn = c.(*net.TCPConn)
	p.mu.Lock()
	p.conns[name] = conn
	p.mu.Unlock()
	select {
	case p.named <- struct{}{}:
	default:
	}
}

// find returns a connection by its name, which may be on its way in.
func (p *Peer) find(name string) (*connection, error) {
	late := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		c := p.conns[name]
		p.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-p.named:
		case <-late:
			return nil, fmt.Errorf("there is no connection %s", name)
		}
	}
}

// obey carries out one order.
func (p *Peer) obey(order, name, arg string) (string, error) {
	switch order {
	case "open":
		return p.open(name, arg, Port)
	case "openTLS":
		return p.openTLS(name, arg)
	case "tls":
		return "ok", p.listenTLS()
	case "inherit":
		return "ok", p.inherit(name, arg)
	}
	c, err := p.find(name)
	if err != nil {
		return "", err
	}
	switch order {
	case "wait": // until it is there
		return "ok", nil
	case "close":
		if c.secured != nil {
			return "ok", c.secured.Close()
		}
		return "ok", c.Close()
	case "shut":
		return "ok", c.CloseWrite()
	case "stream": // sends without end
		go c.stream()
		return "ok", nil
	case "drain": // reads without end
		go c.drain()
		return "ok", nil
	case "moved":
		return strconv.FormatInt(c.moved.Load(), 10), nil
	case "send":
		_, err := fmt.Fprintln(c, arg)
		return told(err), nil
	case "recv":
		return c.recv(), nil
	case "drop":
		return c.drop(), nil
	case "options":
		return c.options()
	}
	return "", fmt.Errorf("there is no order %q", order)
}

// inherit names the connection that is the descriptor.
func (p *Peer) inherit(name, fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(n), name)
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return err
	}
	p.add(name, c)
	return nil
}

// open makes a connection and sends its name.
func (p *Peer) open(name, addr string, port int) (string, error) {
	c, err := dial(addr, port)
	if err != nil {
		return "", err
	}
	p.add(name, c)
	_, err = fmt.Fprintln(c, name)
	return c.LocalAddr().String(), err
}

func dial(addr string, port int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	return dialer.Dial("tcp4", net.JoinHostPort(addr, strconv.Itoa(port)))
}

func (c *connection) stream() {
	chunk := make([]byte, 1000)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		n, err := c.Write(chunk)
		c.moved.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (c *connection) drain() {
	for b := make([]byte, 4096); ; {
		n, err := c.Read(b)
		c.moved.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// recv returns what comes next: a line, or what the kernel says in the place of one.
func (c *connection) recv() string {
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return told(err)
	}
	line, err := readName(c)
	if err != nil {
		return told(err)
	}
	return line
}

// drop reads all that is left, without TLS.
func (c *connection) drop() string {
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return told(err)
	}
	n, err := io.Copy(io.Discard, c.TCPConn)
	if err == nil {
		err = io.EOF
	}
	return fmt.Sprintf("%d bytes, then %s", n, told(err))
}

// options returns the options of keepalive.
func (c *connection) options() (text string, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, o := range []struct {
			name          string
			level, number int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			value, err := unix.GetsockoptInt(int(fd), o.level, o.number)
			failed = errors.Join(failed, err)
			text += fmt.Sprintf(" %s %d", o.name, value)
		}
	})
	return strings.TrimSpace(text), errors.Join(err, failed)
}

// told is what a system call told its caller, by the name of its errno.
func told(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
