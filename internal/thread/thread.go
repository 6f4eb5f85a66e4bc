// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package thread runs functions that change their thread.
package thread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Discard runs fn on a thread that ends when fn returns, whatever namespaces and capabilities the thread has by then.
func Discard(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread never ends: it would keep the namespace. While it is locked, another thread is used.
			defer runtime.UnlockOSThread()
			Discard(fn)
			return
		}
		fn() // never unlocked: the thread ends with this goroutine
	}()
	<-done
}
