// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// EnterError is the error of entering a network namespace.
type EnterError struct {
	Err error
	// Held means that the thread has CAP_SYS_ADMIN, so the cause is another one.
	Held bool
}

// newEnterError returns the error for an error of setns(2). The caller is on the same thread.
func newEnterError(err error) *EnterError {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	capget := unix.Capget(&hdr, &data[0])
	return &EnterError{Err: err, Held: capget == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0}
}

func (e *EnterError) Error() string {
	if !e.Held || !errors.Is(e.Err, unix.EPERM) && !errors.Is(e.Err, unix.EACCES) {
		return fmt.Sprintf("enter network namespace (needs CAP_SYS_ADMIN): %v", e.Err)
	}
	return fmt.Sprintf("enter network namespace: %v: CAP_SYS_ADMIN is held, so a seccomp filter or a security module refuses setns(2), or another user namespace than this one or its descendants owns the network namespace", e.Err)
}

// Unwrap returns the errno.
func (e *EnterError) Unwrap() error { return e.Err }

// TryEnter enters the process's own network namespace, which needs the same privilege as any other network namespace of the
// same user namespace. The error is an *EnterError if the kernel or a filter refuses that.
func TryEnter() error {
	own, err := OpenOwn()
	if err != nil {
		return err
	}
	defer own.Close()
	return own.Do(func() error { return nil })
}
