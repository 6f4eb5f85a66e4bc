// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
)

// pingCommand is the argument that makes this program a connection with a request and an answer each millisecond.
const pingCommand = "ping"

// ping is one round trip.
type ping struct{ at, latency time.Duration } // CLOCK_MONOTONIC; until the answer was there

// pingInterval is the time between an answer and the next request.
const pingInterval = time.Millisecond

// pingPong sends requests over a connection on loopback until r ends, and writes the round trips to w. Each end has a thread
// of its own, which blocks in the kernel: the Go scheduler has no part in the latency.
func pingPong(r io.Reader, w io.Writer) error {
	listener, err := listen(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	client, server, err := connect(listener)
	if err != nil {
		return err
	}
	err = errors.Join(unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetsockoptInt(server, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	go func() { answered <- answer64(server) }()
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, r)
		close(ended)
	}()
	runtime.LockOSThread()
	var all []ping
	var b [64]byte
	for open := true; open; {
		select {
		case <-ended:
			open = false
		default:
			at := monotonic()
			if err := roundTrip(client, b[:]); err != nil {
				return fmt.Errorf("ask: %w", err)
			}
			all = append(all, ping{at, monotonic() - at})
			wait := unix.NsecToTimespec(int64(pingInterval))
			_ = unix.Nanosleep(&wait, nil) // at worst it is shorter
		}
	}
	unix.Close(listener)
	closeAll([]int{client}) // with a reset, so that nothing of it is left
	for _, p := range all {
		if err := binary.Write(w, binary.LittleEndian, [2]int64{int64(p.at), int64(p.latency)}); err != nil {
			return err
		}
	}
	return <-answered
}

// roundTrip sends a request, and reads the answer of the same length.
func roundTrip(fd int, b []byte) error {
	if _, err := unix.Write(fd, b); err != nil {
		return err
	}
	return readFull(fd, b)
}

func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		b = b[n:]
	}
	return nil
}

// answer64 answers requests until the other end closes.
func answer64(fd int) error {
	runtime.LockOSThread()
	var b [64]byte
	for {
		if err := readFull(fd, b[:]); errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		if _, err := unix.Write(fd, b[:]); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// monotonic reads CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return time.Duration(ts.Nano())
}

// startPing starts a connection in a namespace. stop ends it and returns its round trips.
func startPing(ctx context.Context, t finder.Netns) (stop func() ([]ping, error), err error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", pingCommand)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C goes to the first process alone
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := inside(t, cmd.Start); err != nil {
		return nil, fmt.Errorf("start the ping-pong connection: %w", err)
	}
	return func() (all []ping, err error) {
		stdin.Close()
		b, err := io.ReadAll(stdout)
		if err = errors.Join(err, cmd.Wait()); err != nil {
			return nil, fmt.Errorf("ping-pong connection: %w", err)
		}
		for ; len(b) >= 16; b = b[16:] {
			all = append(all, ping{time.Duration(binary.LittleEndian.Uint64(b)), time.Duration(binary.LittleEndian.Uint64(b[8:]))})
		}
		return all, nil
	}, nil
}
