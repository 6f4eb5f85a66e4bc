// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrNotReturned means that a thread is still in a namespace that it has entered. The process must not start any child
// that does not belong into that namespace.
var ErrNotReturned = errors.New("return to own network namespace")

// Thread is the calling goroutine's thread and its network namespace. It is for a short-lived process such as the plugin:
// [Handle.Do] runs its function on another thread, which costs two switches between threads, each up to a time slice on a
// busy machine. The goroutine stays on the thread until Close.
//
// While the thread is in another namespace, the runtime starts no thread there: it does not clone new threads from a locked
// one.
type Thread struct {
	fd       int
	id       Identity
	stranded bool
}

// LockThread locks the calling goroutine to its thread, and opens the thread's network namespace. The same goroutine must
// call the methods.
func LockThread() (*Thread, error) {
	runtime.LockOSThread()
	fd, err := hostfs.Retry(func() (int, error) { return unix.Open(threadPath, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open own network namespace: %w", err)
	}
	return &Thread{fd: fd, id: Identity{Dev: uint64(st.Dev), Inode: st.Ino}}, nil // 32 bits wide on mips
}

// Stat returns the identity of the thread's own namespace, without the cookie.
func (t *Thread) Stat() Identity { return t.id }

// Identify is Handle.Identify on this thread. If the error is ErrNotReturned, the thread is still in the namespace, and the
// goroutine stays locked to it.
func (t *Thread) Identify(h *Handle) (Identity, error) { return t.identify(h, setns) }

// setns moves the calling thread.
func setns(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) }

func (t *Thread) identify(h *Handle, setns func(fd int) error) (Identity, error) {
	if err := setns(h.FD()); err != nil {
		return Identity{}, fmt.Errorf("identify network namespace: %w", newEnterError(err))
	}
	id := h.id
	var err error
	id.Cookie, err = cookie()
	if back := setns(t.fd); back != nil {
		t.stranded = true
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrNotReturned, back))
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identify network namespace: %w", err)
	}
	return id, nil
}

// Close closes the namespace and unlocks the goroutine, unless the thread has not returned to its own namespace.
func (t *Thread) Close() {
	_ = unix.Close(t.fd)
	if !t.stranded {
		runtime.UnlockOSThread()
	}
}
