// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package thread runs functions that change the namespaces or capabilities of their thread.
package thread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Discard runs fn on a thread that exits when fn returns, so fn may change the thread's namespaces and capabilities.
func Discard(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread cannot exit, and would stay in the namespace. While it is locked, Discard gets another one.
			defer runtime.UnlockOSThread()
			Discard(fn)
			return
		}
		fn() // never unlocked: the thread exits with this goroutine
	}()
	<-done
}
