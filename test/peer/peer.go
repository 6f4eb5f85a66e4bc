// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package peer is the process of a container in tests and demo: it opens connections to its kind, and carries out orders on
// them.
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

// Port is the port on which a peer listens. TLSPort is the one for TLS, after the order tls.
const (
	Port    = 8080
	TLSPort = 8443
)

// Socket is the address on which the peer of a container takes orders, for a client that cannot reach its stdin: an
// abstract socket (unix(7)), which only processes in its network namespace can connect to.
const Socket = "@halfclose-peer"

// Peer is a set of named connections.
type Peer struct {
	mu    sync.Mutex
	conns map[string]*connection
	named chan struct{} // receives a value for each accepted connection
}

type connection struct {
	*net.TCPConn
	secured *tls.Conn    // over TCPConn; nil without TLS
	moved   atomic.Int64 // bytes that stream or drain have moved
}

// New returns a peer that does not listen. Its process has the given name.
func New(name string) (*Peer, error) {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return nil, err
	}
	return &Peer{conns: make(map[string]*connection), named: make(chan struct{}, 1)}, nil
}

// Listen returns a peer that accepts connections on every address. Its process has the given name. Connections have no
// keepalive, which Go would enable: with it the application would find out on its own that its peer is gone.
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

// Serve carries out orders, one per line, until EOF, and answers each with a line. Its first line is "ready". The orders
// for a connection:
//
//	open NAME ADDRESS   connects to the peer at the address, and answers with the local address
//	inherit NAME FD     names a connection that the process was started with
//	wait NAME           waits until the connection exists
//	close NAME, shut NAME   closes both directions, or the sending one
//	stream NAME, drain NAME   sends forever, or reads forever
//	moved NAME          answers with the number of bytes that stream and drain have moved
//	send NAME WORD, recv NAME   sends or receives a line; the answer to an error is its errno's name
//	drop NAME           reads to the end, and answers with the number of bytes and the end
//	options NAME        answers with the keepalive options
//
// Without a connection:
//
//	tls                 listens on TLSPort too, for openTLS
//	openTLS NAME ADDRESS   opens a TLS connection, and reads an answer on it; close then sends close_notify first
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

// accept accepts connections. The first line on each is its name.
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

// readName reads one line, and no byte after it.
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

// find returns a connection by its name. It waits for one that is still being accepted.
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
	case "wait": // until it exists
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
		return result(err), nil
	case "recv":
		return c.recv(), nil
	case "drop":
		return c.drop(), nil
	case "options":
		return c.options()
	}
	return "", fmt.Errorf("there is no order %q", order)
}

// inherit names the connection with this descriptor.
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

// open opens a connection and sends its name.
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
	dialer := net.Dialer{Timeout: time.Minute, KeepAlive: -1}
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

// recv returns the next line, or the result of the read.
func (c *connection) recv() string {
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return result(err)
	}
	line, err := readName(c)
	if err != nil {
		return result(err)
	}
	return line
}

// drop reads to the end, without TLS.
func (c *connection) drop() string {
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return result(err)
	}
	n, err := io.Copy(io.Discard, c.TCPConn)
	if err == nil {
		err = io.EOF
	}
	return fmt.Sprintf("%d bytes, then %s", n, result(err))
}

// options returns the keepalive options.
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

// result returns the result of a system call: the name of its errno.
func result(err error) string {
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
