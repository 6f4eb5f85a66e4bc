// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// way is one way to find the half-closed sockets of several namespaces.
type way struct {
	name  string
	clock clock // whose CPU time it costs
	find  func(ctx context.Context, targets []finder.Netns) (int, error)
}

// loopScript lists the half-closed sockets of every container, as an operator would write it.
const loopScript = `for ns; do nsenter --net="$ns" ss -Htn state close-wait state fin-wait-2; done`

// loop prepares a shell that runs ss in one namespace after the other.
func loop(ctx context.Context, targets []finder.Netns) *exec.Cmd {
	args := []string{"-c", loopScript, "sh"}
	for _, t := range targets {
		args = append(args, t.Paths[0])
	}
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// findByLoop runs a shell that runs ss in one namespace after the other.
func findByLoop(ctx context.Context, targets []finder.Netns) (int, error) {
	cmd := loop(ctx, targets)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run ss in each namespace: %w", err)
	}
	return countListed(out.Bytes())
}

// countListed counts the lines of ss. Each must be a half-closed socket.
func countListed(list []byte) (int, error) {
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		state, _, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if s := string(state); s != "CLOSE-WAIT" && s != "FIN-WAIT-2" {
			return 0, fmt.Errorf("ss listed %q, which is not half-closed", lines.Text())
		}
		n++
	}
	return n, lines.Err()
}

// findByLibrary uses the call of the netlink library for this purpose: it lists every TCP socket.
func findByLibrary(_ context.Context, targets []finder.Netns) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := vnetns.Get()
	if err != nil {
		return 0, err
	}
	defer home.Close()
	n := 0
	for _, t := range targets {
		found, err := libraryIn(t.Paths[0])
		if err = errors.Join(err, vnetns.Set(home)); err != nil {
			return 0, err
		}
		n += found
	}
	return n, nil
}

func libraryIn(path string) (int, error) {
	h, err := vnetns.GetFromPath(path)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	if err := vnetns.Set(h); err != nil {
		return 0, err
	}
	n := 0
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.SocketDiagTCPInfo(family)
		if err != nil {
			return 0, fmt.Errorf("SocketDiagTCPInfo: %w", err)
		}
		for _, s := range list {
			if inetdiag.State(s.InetDiagMsg.State).HalfClosed() {
				n++
			}
		}
	}
	return n, nil
}

// findByFamily is the finder's dump on a kernel without the legacy dump.
func findByFamily(_ context.Context, targets []finder.Netns) (int, error) {
	n := 0
	for _, t := range targets {
		err := dump(t, inetdiag.Filter{States: inetdiag.HalfClosed, Info: true, NoLegacy: true}, func(*inetdiag.Socket) { n++ })
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// dump calls visit for each socket in a namespace that the filter selects.
func dump(t finder.Netns, f inetdiag.Filter, visit func(*inetdiag.Socket)) error {
	conn, err := open(t)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Dump(f, func(s *inetdiag.Socket) error {
		visit(s)
		return nil
	})
}

// open opens a sock_diag socket in a namespace.
func open(t finder.Netns) (conn *inetdiag.Conn, err error) {
	err = inside(t, func() (err error) {
		conn, err = inetdiag.Open()
		return err
	})
	return conn, err
}

// inside runs fn in a namespace.
func inside(t finder.Netns, fn func() error) error {
	h, err := netns.Open(t.Paths[0])
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Do(fn)
}

// passTimeout bounds one pass over a million sockets on a busy machine.
const passTimeout = time.Hour

// findByFinder sweeps every namespace once with the reaper's finder, with an unlimited budget.
func findByFinder(ctx context.Context, targets []finder.Netns) (int, error) {
	clock, err := monotime.System()
	if err != nil {
		return 0, err
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return 0, err
	}
	defer root.Close()
	ctx, stop := context.WithTimeout(ctx, passTimeout)
	defer stop()
	once := sweepOnce{Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: clock, CPUBudget: 100}), swept: make(chan struct{})}
	set := make(chan []finder.Netns, 1)
	set <- targets
	go func() {
		select {
		case <-once.swept:
		case <-ctx.Done():
		}
		stop()
	}()
	var n counter
	err = once.Find(ctx, set, &n)
	return n.sockets, err
}

// counter is a sink that counts sockets.
type counter struct{ sockets int }

func (c *counter) Seen(batch []finder.Seen)     { c.sockets += len(batch) }
func (c *counter) Swept(finder.Sweep)           {}
func (c *counter) Failed(netns.Identity, error) {}
func (c *counter) Cost(finder.Cost)             {}
func (c *counter) State(finder.State)           {}
