// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// programArg is the first argument of the program of a pod: pictures program COMMAND LEAK.
const programArg = "program"

// The ends of a connection, and the states in which they leak.
const (
	client    = "client"
	server    = "server"
	closeWait = "CLOSE_WAIT"
	finWait2  = "FIN_WAIT2"
)

// leak is what a program does: it opens or accepts connections, and leaves them in a state.
type leak struct {
	Role  string        // server or client
	Port  uint16        // of the server
	State string        // in which its end stays
	Count int           // at once, at the start
	Every time.Duration // one more
	Alive bool          // the other end keeps its socket, so that its kernel answers
	Peer  netip.Addr
}

// other returns what the program at the other end does.
func (l leak) other() leak {
	if l.Role == client {
		l.Role = server
	} else {
		l.Role = client
	}
	if l.State == closeWait {
		l.State = finWait2
	} else {
		l.State = closeWait
	}
	return l
}

func (l leak) String() string {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // its fields can be encoded
	}
	return string(b)
}

// program is the process of a pod. It returns only with an error.
func program(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a command and a leak, got %q", args)
	}
	var l leak
	if err := json.Unmarshal([]byte(args[1]), &l); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(args[0]), 0); err != nil {
		return err
	}
	if l.Role == server {
		return l.serve()
	}
	return l.connect()
}

// kept are the connections that stay open: without a reference the garbage collector would close them.
var kept []net.Conn

func (l leak) serve() error {
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp4", fmt.Sprintf(":%d", l.Port))
	if err != nil {
		return err
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := l.leave(c); err != nil {
			return err
		}
	}
}

func (l leak) connect() error {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	address := netip.AddrPortFrom(l.Peer, l.Port).String()
	for deadline := time.Now().Add(10 * time.Second); ; { // until the server listens
		c, err := dialer.Dial("tcp4", address)
		if err == nil {
			if err := l.leave(c); err != nil {
				return err
			}
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	for n := 1; ; n++ {
		if n >= l.Count {
			time.Sleep(l.Every)
		}
		c, err := dialer.Dial("tcp4", address)
		if err != nil {
			return err
		}
		if err := l.leave(c); err != nil {
			return err
		}
	}
}

// leave leaves a connection in the state of this end: FIN_WAIT2 after a shutdown of its direction, CLOSE_WAIT after that
// of the other end. An end that is not alive closes its descriptor, so that its kernel forgets the connection later.
func (l leak) leave(c net.Conn) error {
	if l.State == finWait2 {
		if l.leaks() {
			kept = append(kept, c)
			return c.(*net.TCPConn).CloseWrite()
		}
		return c.Close()
	}
	kept = append(kept, c)
	return nil
}

// leaks reports whether this end keeps its descriptor.
func (l leak) leaks() bool { return l.Alive || l.Role == server && l.Port == 8443 }
