// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// pace is the interval of writes and of connection attempts.
const pace = 100 * time.Millisecond

// way handles a connection, and returns when it is done. open means that the connection must stay open, as a leak.
type way func(c *net.TCPConn) (open bool)

func servers() map[string]way {
	return map[string]way{"close": closing, "hold": holding, "trickle": trickling, "echo": echoing}
}

func clients() map[string]way {
	return map[string]way{"leak": holding, "close": reading, "shut": shutting, "talk": talking}
}

// serve listens, and handles each connection.
func serve(address string, treat way) error {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	logf("listening at %s", l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				logf("accept: %v", err)
				return
			}
			go use(c.(*net.TCPConn), treat)
		}
	}()
	return nil
}

// connect retries until it is connected, and handles the connection.
func connect(address string, treat way) {
	dialer := net.Dialer{KeepAlive: -1, Timeout: time.Second}
	dialer.SetMultipathTCP(false)
	for {
		c, err := dialer.Dial("tcp", address)
		if err == nil {
			use(c.(*net.TCPConn), treat)
			return
		}
		time.Sleep(pace)
	}
}

func use(c *net.TCPConn, treat way) {
	defer c.Close() // and keeps c reachable: no finalizer may close a leaked connection
	logf("%s connected", c.RemoteAddr())
	if treat(c) {
		select {}
	}
	logf("%s closed", c.RemoteAddr())
}

// ended logs how reading ended.
func ended(c *net.TCPConn, n int64, err error) {
	if err == nil {
		err = io.EOF
	}
	logf("%s after %d bytes: %v", c.RemoteAddr(), n, err)
}

func closing(*net.TCPConn) bool { return false }

func holding(c *net.TCPConn) bool {
	n, err := io.Copy(io.Discard, c)
	ended(c, n, err)
	// The fate of a leaked connection shows in a write to it, which this never makes.
	return true
}

func reading(c *net.TCPConn) bool {
	n, err := io.Copy(io.Discard, c)
	ended(c, n, err)
	return false
}

func shutting(c *net.TCPConn) bool {
	_, err := fmt.Fprintln(c, "this is all")
	if err == nil {
		err = c.CloseWrite()
	}
	if err != nil {
		logf("%s shut: %v", c.RemoteAddr(), err)
		return false
	}
	return reading(c)
}

func trickling(c *net.TCPConn) bool {
	for n := 0; ; n++ {
		if _, err := c.Write([]byte{'.'}); err != nil {
			ended(c, int64(n), err)
			return false
		}
		time.Sleep(pace)
	}
}

func echoing(c *net.TCPConn) bool {
	n, err := io.Copy(c, c)
	ended(c, n, err)
	return false
}

func talking(c *net.TCPConn) bool {
	answers := bufio.NewReader(c)
	for n := 0; ; n++ {
		_, err := fmt.Fprintln(c, n)
		if err == nil {
			_, err = answers.ReadString('\n')
		}
		if err != nil {
			ended(c, int64(n), err)
			return false
		}
		time.Sleep(pace)
	}
}
