// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fault is what happens to some system calls.
type Fault struct {
	Calls []uintptr // such as unix.SYS_OPENAT; the program must have been started with them
	// Where, unless nil, selects among the calls. It runs in the supervisor, while the call waits.
	Where func(*Call) bool
	// Skip is the number of selected calls that are unharmed, before the first with the effect.
	Skip int
	// Times, unless 0, is the number of calls with the effect.
	Times  int
	Effect Effect
}

// Effect is what happens to a call.
type Effect struct {
	kind  effectKind
	errno unix.Errno
	bytes int
	delay time.Duration
}

type effectKind int

const (
	pass effectKind = iota
	fail
	short
	late
	hang
	kill
)

// Pass lets the call continue. It counts and records calls.
func Pass() Effect { return Effect{} }

// Fail lets the call fail with an errno, without an effect in the kernel.
func Fail(errno unix.Errno) Effect { return Effect{kind: fail, errno: errno} }

// Short lets a read, write, send or receive transfer at most this number of bytes. Of a longer datagram the rest is lost, and
// recvmsg(2) sets MSG_TRUNC, as in the kernel.
func Short(bytes int) Effect { return Effect{kind: short, bytes: bytes} }

// Late lets the call continue after a delay.
func Late(delay time.Duration) Effect { return Effect{kind: late, delay: delay} }

// Hang lets the call wait until the fault is lifted. As on a file system whose server does not answer, only a signal that
// kills the process interrupts it.
func Hang() Effect { return Effect{kind: hang} }

// Kill kills the process with SIGKILL before the kernel executes the call.
func Kill() Effect { return Effect{kind: kill} }

// String returns the errno's name, or what happens.
func (e Effect) String() string {
	switch e.kind {
	case fail:
		return unix.ErrnoName(e.errno)
	case short:
		return "cut short"
	case late:
		return "late"
	case hang:
		return "hangs"
	case kill:
		return "killed"
	}
	return "none"
}

// Injected is a fault in effect.
type Injected struct {
	fault  Fault
	lifted chan struct{} // closed by Lift
	lift   sync.Once

	mu       sync.Mutex
	selected int
	hits     []string
}

// Lift ends the fault. Calls that hang because of it continue.
func (i *Injected) Lift() { i.lift.Do(func() { close(i.lifted) }) }

// Hits returns the number of calls that the fault has had its effect on.
func (i *Injected) Hits() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.hits)
}

// Calls describes the calls that the fault has had its effect on, in order.
func (i *Injected) Calls() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.hits)
}

// applies reports whether the fault has its effect on a call, and counts the call.
func (i *Injected) applies(c *Call) bool {
	select {
	case <-i.lifted:
		return false
	default:
	}
	if !slices.Contains(i.fault.Calls, c.Number) || i.fault.Where != nil && !i.fault.Where(c) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.selected++
	if i.selected <= i.fault.Skip || i.fault.Times > 0 && len(i.hits) >= i.fault.Times {
		return false
	}
	i.hits = append(i.hits, c.String())
	return true
}
