// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Storm opens, half-closes and closes connections as fast as the CPUs allow.
type Storm struct {
	// Grace is the grace after which a half-closed socket may be destroyed; 0 if none may be.
	Grace time.Duration
	// Keep is the number of half-closed connections that each worker keeps open, also when the storm stops.
	Keep int
}

// stormWorkers is the number of workers in each namespace.
const stormWorkers = 2

// Run opens connections in the namespaces until stop is closed, and returns how many. The test fails if one is destroyed
// within its grace. The kept connections stay half-closed until the test ends.
func (s Storm) Run(tb testing.TB, stop <-chan struct{}, namespaces ...*NS) (made int) {
	tb.Helper()
	var all atomic.Int64
	var wg sync.WaitGroup
	for _, ns := range namespaces {
		for i := range stormWorkers {
			wg.Go(func() {
				w := stormWorker{Storm: s, tb: tb, l: ns.Listen(tb, Networks[i])}
				tb.Cleanup(w.end)
				ns.Do(tb, func() {
					for !closed(stop) {
						w.one()
						all.Add(1)
					}
				})
			})
		}
	}
	wg.Wait()
	return int(all.Load())
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// stormWorker opens one connection after the other.
type stormWorker struct {
	Storm
	tb   testing.TB
	l    *net.TCPListener
	kept []Pair
}

// one opens a connection, half-closes it, uses the other direction, and closes the oldest kept connection.
func (w *stormWorker) one() {
	d := net.Dialer{KeepAlive: -1, Timeout: time.Minute}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp", w.l.Addr().String())
	if err != nil {
		w.tb.Errorf("dial: %v", err)
		return
	}
	server, err := w.l.AcceptTCP()
	if err != nil {
		c.Close()
		w.tb.Errorf("accept: %v", err)
		return
	}
	p := Pair{Client: c.(*net.TCPConn), Server: server}
	shut := time.Now()
	for _, err := range []error{
		p.Client.CloseWrite(), sendByte(p.Server), receiveByte(p.Client),
	} {
		if err != nil && (w.Grace == 0 || time.Since(shut) < w.Grace) {
			w.tb.Errorf("%v after it was half-closed: %v", time.Since(shut), err)
		}
	}
	if w.kept = append(w.kept, p); len(w.kept) > w.Keep {
		w.close(w.kept[0])
		w.kept = w.kept[1:]
	}
}

func sendByte(c net.Conn) error {
	_, err := c.Write([]byte{1})
	return err
}

func receiveByte(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

// close closes both ends of a connection in a random order, mostly without TIME_WAIT.
func (w *stormWorker) close(p Pair) {
	first, second := p.Client, p.Server
	if rand.IntN(2) == 0 {
		first, second = second, first
	}
	if rand.IntN(4) > 0 {
		_ = first.SetLinger(0) // no TIME_WAIT, which would use up the ports
	}
	first.Close()
	second.Close()
}

func (w *stormWorker) end() {
	for _, p := range w.kept {
		w.close(p)
	}
}
