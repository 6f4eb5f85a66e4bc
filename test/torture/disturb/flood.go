// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/test/torture/model"
)

// floods make more half-closed sockets than the bpf finder's set has room for, or more changes of state than its program
// sees.
func floods() []Maker {
	return []Maker{
		maker("flood", 2, 20*time.Second, func(r *rand.Rand) run {
			name, lasts := fmt.Sprintf("flood-%x", r.Uint32()), between(r, time.Second, 3*time.Second)
			const room = 600
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				args := n.Reaper.Args()
				effects, err := n.replaceReaper(ctx, 0, append(slices.Clip(args), fmt.Sprintf("--bpf-sockets=%d", room))...)
				if err != nil {
					return nil, err
				}
				since := effects[0].Since
				end, err := n.Pods.Flood(ctx, name, room+200)
				if err != nil {
					return nil, err
				}
				if err := errors.Join(sleep(ctx, lasts), end()); err != nil {
					return nil, err
				}
				if _, err := n.replaceReaper(ctx, 0, args...); err != nil {
					return nil, err
				}
				return possibly(since, model.Down, model.RoleUnknown), nil
			}
		}),
		maker("storm", 3, 3*time.Second, func(r *rand.Rand) run {
			workers, lasts := 2+r.IntN(3), between(r, 500*time.Millisecond, 2*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				made, err := storm(ctx, workers, lasts)
				n.Log("a storm of %d connections", made)
				return nil, err
			}
		}),
	}
}

// storm opens, half-closes and closes connections in a network namespace of its own as fast as it can, and returns how many.
func storm(ctx context.Context, workers int, lasts time.Duration) (made int, err error) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	thread.Discard(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		var lo netlink.Link
		if lo, err = netlink.LinkByName("lo"); err != nil {
			return
		}
		if err = netlink.LinkSetUp(lo); err != nil {
			return
		}
		var listeners []net.Listener
		for range workers {
			var l net.Listener
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				return
			}
			listeners = append(listeners, l)
		}
		// Sockets are opened on this thread alone: it is in the namespace.
		var wg sync.WaitGroup
		for _, l := range listeners {
			wg.Go(func() { halfCloseAll(l) })
		}
		for ctx.Err() == nil {
			for _, l := range listeners {
				if openAndClose(l.Addr().String()) {
					made++
				}
			}
		}
		for _, l := range listeners {
			_ = l.Close()
		}
		wg.Wait()
	})
	return made, err
}

// halfCloseAll accepts connections until the listener is closed. It shuts one direction of each, and closes it once the other
// end has.
func halfCloseAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.(*net.TCPConn).CloseWrite() // the other end may have closed it
			_, _ = c.Read(make([]byte, 1))
		}()
	}
}

// openAndClose opens a connection, waits for its end and closes it without TIME_WAIT.
func openAndClose(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	_, _ = c.Read(make([]byte, 1))
	_ = c.(*net.TCPConn).SetLinger(0)
	return true
}
