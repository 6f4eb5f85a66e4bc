// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// errGoexit says that a function passed to Do ended its goroutine.
var errGoexit = errors.New("function ended its goroutine (runtime.Goexit, or FailNow of a test)")

// Panic is what Do panics with when the function passed to it did.
type Panic struct {
	Value any    // what the function panicked with
	Stack []byte // where it did
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns the value that the function panicked with if that is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Do runs fn in the namespace, on a thread that nothing else runs on meanwhile, and returns its error. What
// fn opens there stays there; goroutines that it starts are in the process's own namespace.
//
// The caller never leaves its namespace. When the thread cannot be brought back to its own, it is ended
// rather than used again, and the error says so. If fn panics, Do panics with a *Panic after that.
func (h *Handle) Do(fn func() error) error { return in(h.ns, netns.Set, fn) }

// outcome is how a function ended.
type outcome struct {
	err      error
	panicked *Panic
}

// in runs fn in ns. setns is netns.Set, but for tests.
func in(ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) error {
	out := run(ns, setns, fn)
	if out.panicked != nil {
		panic(out.panicked) //nolint:forbidigo // it is the panic of the caller's own function
	}
	return out.err
}

// run runs fn in ns on a goroutine of its own, and waits for it.
func run(ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) outcome {
	ch := make(chan outcome, 1)
	go func() {
		out := outcome{err: errGoexit}
		defer func() { ch <- out }()
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			visit(&out, ns, setns, fn)
			return
		}
		// Not the main thread: it can be parked but never ended, and for other processes its namespace is
		// that of the whole process (/proc/PID/ns/net). While it is locked here, another one is used.
		defer runtime.UnlockOSThread()
		out = run(ns, setns, fn)
	}()
	return <-ch
}

// visit runs fn in ns on the calling goroutine's thread, which is locked to it. The thread is unlocked again
// unless it could not be brought back: then it ends with the goroutine.
func visit(out *outcome, ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) {
	own, err := netns.GetFromPath(threadPath)
	if err != nil {
		runtime.UnlockOSThread()
		out.err = fmt.Errorf("open own network namespace: %w", err)
		return
	}
	defer own.Close()
	if err := setns(ns); err != nil {
		runtime.UnlockOSThread()
		out.err = newEnterError(err)
		return
	}
	defer func() {
		if v := recover(); v != nil {
			*out = outcome{panicked: &Panic{Value: v, Stack: debug.Stack()}}
		}
		if err := setns(own); err != nil {
			out.err = errors.Join(out.err, fmt.Errorf("return to own network namespace (thread ended): %w", err))
			return
		}
		runtime.UnlockOSThread()
	}()
	out.err = fn() // if it never returns, out says so already
}
