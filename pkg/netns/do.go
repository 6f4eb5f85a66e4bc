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

// errGoexit means that the function that Do ran has called runtime.Goexit.
var errGoexit = errors.New("function called runtime.Goexit (or FailNow of a test)")

// Panic is the value that Do panics with after its function has panicked.
type Panic struct {
	Value any    // of the function's panic
	Stack []byte // of the function's goroutine
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns Value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Do runs fn in the namespace, on a thread of its own, and returns the error of fn. Sockets that fn opens stay in the
// namespace; goroutines that fn starts run in the process's own namespace.
//
// The caller's thread never leaves its namespace. If fn's thread cannot return to its own namespace, it exits, and the error
// reports that. If fn panics, Do panics with a *Panic afterwards.
func (h *Handle) Do(fn func() error) error { return in(h.ns, netns.Set, fn) }

// outcome is the result of a function.
type outcome struct {
	err      error
	panicked *Panic
}

// in runs fn in ns. setns is netns.Set, except in tests.
func in(ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) error {
	out := run(ns, setns, fn)
	if out.panicked != nil {
		panic(out.panicked) //nolint:forbidigo // the panic of the caller's own function
	}
	return out.err
}

// run runs fn in ns on another goroutine, and waits for it.
func run(ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) outcome {
	ch := make(chan outcome, 1)
	go func() {
		out := outcome{err: errGoexit}
		defer func() { ch <- out }()
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			runHere(&out, ns, setns, fn)
			return
		}
		// Not on the main thread: it cannot exit, and other processes take its namespace for that of the whole process
		// (/proc/PID/ns/net). While it is locked here, the recursive call gets another thread.
		defer runtime.UnlockOSThread()
		out = run(ns, setns, fn)
	}()
	return <-ch
}

// runHere runs fn in ns on the calling goroutine's thread, to which it is locked. It unlocks the thread, unless the thread
// cannot return to its own namespace: then the thread exits with the goroutine.
func runHere(out *outcome, ns netns.NsHandle, setns func(netns.NsHandle) error, fn func() error) {
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
			out.err = errors.Join(out.err, fmt.Errorf("return to own network namespace (the thread exits): %w", err))
			return
		}
		runtime.UnlockOSThread()
	}()
	out.err = fn() // after runtime.Goexit, out.err is still errGoexit
}
