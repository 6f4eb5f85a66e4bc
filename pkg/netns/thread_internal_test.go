// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// here returns the network namespace of the calling thread.
func here(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink(threadPath)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// lockBeside returns the thread of the test's goroutine and another namespace, both until the test ends.
func lockBeside(t *testing.T) (*Handle, *Thread) {
	t.Helper()
	h, err := Open(nstest.New(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	thread, err := LockThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(thread.Close) // on the test's goroutine, as Close requires
	return h, thread
}

func TestAThreadIdentifiesANamespaceAndReturns(t *testing.T) {
	h, thread := lockBeside(t)
	before := here(t)
	got, err := thread.Identify(h)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := h.Identify(); err != nil || got != want {
		t.Errorf("got %v, want %v (%v)", got, want, err)
	}
	if now := here(t); now != before {
		t.Errorf("the thread is in %s, and was in %s", now, before)
	}
	if thread.Stat().Same(h.Stat()) || thread.Stat().String() != before {
		t.Errorf("its own namespace is %v, want %s", thread.Stat(), before)
	}
	own, err := Open(threadPath)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if !thread.Stat().Same(own.Stat()) {
		t.Errorf("its own namespace is %v, want %v", thread.Stat(), own.Stat())
	}
}

func TestAThreadThatCannotReturnIsAnErrorAndStaysLocked(t *testing.T) {
	h, err := Open(nstest.New(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var tid int
	onSpareThread(func() {
		tid = unix.Gettid()
		thread, err := LockThread()
		if err != nil {
			t.Error(err)
			return
		}
		defer thread.Close()
		_, err = thread.identify(h, func(fd int) error {
			if fd == thread.fd {
				return unix.EPERM
			}
			return setns(fd)
		})
		if !errors.Is(err, ErrNotReturned) || !errors.Is(err, unix.EPERM) {
			t.Errorf("got %v", err)
		}
		if now := here(t); now != h.Stat().String() {
			t.Errorf("the thread is in %s, want %v", now, h.Stat())
		}
	})
	task := fmt.Sprintf("/proc/self/task/%d", tid)
	nstest.Eventually(t, 30*time.Second, "the thread exits", func() bool {
		_, err := os.Stat(task)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// onSpareThread runs fn on another thread than the main thread, which cannot exit. Unlike a thread of thread.Discard, it exits
// after fn only if fn leaves it locked.
func onSpareThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			onSpareThread(fn)
			return
		}
		defer runtime.UnlockOSThread() // of this lock; that of fn remains
		fn()
	}()
	<-done
}

func TestAThreadThatMayNotEnterStaysInItsNamespace(t *testing.T) {
	h, thread := lockBeside(t)
	before := here(t)
	if _, err := thread.identify(h, func(int) error { return unix.EPERM }); !errors.Is(err, unix.EPERM) || errors.Is(err, ErrNotReturned) {
		t.Errorf("got %v", err)
	}
	if now := here(t); now != before {
		t.Errorf("the thread is in %s, and was in %s", now, before)
	}
}
