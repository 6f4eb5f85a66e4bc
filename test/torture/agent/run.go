// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/model"
)

// agent is the state of the process.
type agent struct {
	epoll int
	out   struct {
		sync.Mutex
		*json.Encoder
	}

	mu        sync.Mutex
	alive     time.Duration // when all connections were alive whose end has not been reported
	conns     map[string]*conn
	listeners map[string]int
	tokens    map[int32]*conn // of the epoll set
	next      int32
}

// conn is a connection.
type conn struct {
	name          string
	fd            int
	token         int32
	ended         bool
	closed        time.Duration // when, 0 if it is open
	read, written int           // bytes
}

// Run carries out orders until EOF.
func Run(in io.Reader, out io.Writer) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create an epoll set: %w", err)
	}
	a := &agent{epoll: epoll, conns: make(map[string]*conn), listeners: make(map[string]int), tokens: make(map[int32]*conn), alive: model.Now()}
	a.out.Encoder = json.NewEncoder(out)
	go a.witness()
	orders := json.NewDecoder(in)
	for {
		var o Order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		go func() { // an order may wait
			answer := Answer{ID: o.ID, Conn: o.Conn, Before: model.Now()}
			if err := a.carryOut(o, &answer); err != nil {
				answer.Error = fmt.Sprintf("%s %s%s: %v", o.Op, o.Conn, o.Listener, err)
			}
			answer.After = model.Now()
			a.send(answer)
		}()
	}
}

func (a *agent) send(answer Answer) {
	a.out.Lock()
	defer a.out.Unlock()
	_ = a.out.Encode(answer) // the test may be gone, which ends the orders too
}

// witnessInterval bounds how long the witness waits, and so how exactly it knows when a connection ended on an idle machine.
const witnessInterval = 20 * time.Millisecond

// witness reports connections that have ended.
func (a *agent) witness() {
	events := make([]unix.EpollEvent, 64)
	for {
		began := model.Now()
		n, err := unix.EpollWait(a.epoll, events, int(witnessInterval.Milliseconds()))
		if err != nil {
			n = 0 // EINTR
		}
		now := model.Now()
		a.mu.Lock()
		for _, e := range events[:n] {
			c := a.tokens[e.Fd]
			if c == nil || c.closed != 0 {
				if c == nil || c.closed < began {
					a.mu.Unlock()
					a.send(Answer{Stray: true, Error: fmt.Sprintf("event %#x for a descriptor that was closed", e.Events), After: now})
					a.mu.Lock()
				}
				continue
			}
			if c.ended || e.Events&(unix.EPOLLHUP|unix.EPOLLERR) == 0 || stateOf(c.fd) != unix.BPF_TCP_CLOSE {
				continue
			}
			answer := a.ended(c)
			a.mu.Unlock()
			a.send(answer)
			a.mu.Lock()
		}
		a.mu.Unlock()
		if n < len(events) { // else more may be waiting
			a.mu.Lock()
			a.alive = began // an event after it may have missed this batch
			a.mu.Unlock()
		}
	}
}

// ended marks a connection as ended, and returns the news. The mutex is locked.
func (a *agent) ended(c *conn) Answer {
	c.ended = true
	errno, _ := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return Answer{Conn: c.name, Before: a.alive, After: model.Now(), Errno: unix.Errno(errno)}
}

// reportEnd reports the end of a connection that has ended, unless the witness has.
func (a *agent) reportEnd(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !c.ended && stateOf(c.fd) == unix.BPF_TCP_CLOSE {
		a.send(a.ended(c))
	}
}

// stateOf returns a connection's state, 0 if it cannot be read.
func stateOf(fd int) uint8 {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return info.State
}

// watch adds a connection to the epoll set.
func (a *agent) watch(name string, fd int) (*conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns[name] != nil {
		return nil, errors.New("exists")
	}
	a.next++
	c := &conn{name: name, fd: fd, token: a.next}
	a.conns[name], a.tokens[c.token] = c, c
	return c, a.rewatch(c)
}

// rewatch adds a descriptor to the epoll set.
func (a *agent) rewatch(c *conn) error {
	const edge = 1 << 31 // EPOLLET, which unix has as a negative number
	return unix.EpollCtl(a.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLRDHUP | edge, Fd: c.token})
}

// unwatch forgets a connection and closes it.
func (a *agent) unwatch(c *conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c.name)
	err := unix.Close(c.fd)
	c.closed = model.Now()
	return err
}

func (a *agent) conn(name string) (*conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.conns[name]; c != nil {
		return c, nil
	}
	return nil, errors.New("no such connection")
}
