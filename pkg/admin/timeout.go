// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The longest time without a byte of the answer, after which a request fails.
const (
	answerTimeout = 5 * time.Second // of a request that the reaper answers from memory
	listTimeout   = time.Minute     // of a list of sockets: the reaper may dump every namespace of a full node first

	waitingAfter = 2 * time.Second // of a request's own time: a person wants to know what the command is doing
)

// ErrNoAnswer means that a reaper has accepted a request and sends no answer, for example because it is stopped or
// blocked.
var ErrNoAnswer = errors.New("the reaper does not answer")

// silenceTimer cancels a request if nothing arrives for a time.
type silenceTimer struct {
	timer *time.Timer
	limit time.Duration
}

// silenceError is the cause of a context that a silenceTimer has canceled.
type silenceError struct{ limit time.Duration }

func (e silenceError) Error() string { return fmt.Sprintf("nothing was received for %v", e.limit) }

// limitSilence returns a context that is canceled once limit has passed without a call of restart.
func limitSilence(ctx context.Context, limit time.Duration) (context.Context, *silenceTimer, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(silenceError{limit}) })
	return ctx, &silenceTimer{timer, limit}, func() {
		timer.Stop()
		cancel(nil)
	}
}

func (s *silenceTimer) restart() { s.timer.Reset(s.limit) }

// noisyReader restarts a silenceTimer with each byte that it reads.
type noisyReader struct {
	io.Reader
	timer *silenceTimer
}

// Read implements io.Reader.
func (r noisyReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.timer.restart()
	}
	return n, err
}

// dialer connects to a unix socket and remembers the process that listens on it.
type dialer struct {
	path string
	pid  atomic.Int32 // 0 if it is unknown, as that of a process outside of this PID namespace
}

func (d *dialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "unix", d.path)
	if err != nil {
		return nil, err
	}
	d.pid.Store(listenerPID(conn))
	return conn, nil
}

// listenerPID returns the process that has called listen(2) on the other end's socket, 0 if it is unknown.
func listenerPID(conn net.Conn) (pid int32) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	return pid
}

// noAnswer returns the error for a reaper that has not answered; within is " within 5s" or "".
func (d *dialer) noAnswer(within string) error {
	who := d.path
	if pid := d.pid.Load(); pid > 0 {
		who = fmt.Sprintf("pid %d, on %s", pid, d.path)
	}
	return noAnswerError{fmt.Sprintf("the reaper (%s) does not answer%s: if its process is stopped or blocked, restart it", who, within)}
}

// noAnswerError is an ErrNoAnswer with the reaper in its text.
type noAnswerError struct{ text string }

func (e noAnswerError) Error() string { return e.text }

// Is reports that the error is an ErrNoAnswer.
func (noAnswerError) Is(target error) bool { return target == ErrNoAnswer }
