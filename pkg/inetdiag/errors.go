// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What the kernel may say of one socket. errors.Is finds them, and also the errno behind each.
var (
	// ErrGone means that no such socket exists any more: another one under the same addresses and ports
	// does not count. It is ENOENT.
	ErrGone error = &kernelError{"socket is gone", unix.ENOENT}

	// ErrUnsupported means that the kernel cannot destroy sockets. It is EOPNOTSUPP.
	ErrUnsupported error = &kernelError{"kernel was built without CONFIG_INET_DIAG_DESTROY: " +
		"use one that has it (Debian, Ubuntu, RHEL 9 and later do)", unix.EOPNOTSUPP}

	// ErrDenied means that the caller may not destroy sockets of this network namespace. It is EPERM, or
	// EACCES where a security module refused.
	ErrDenied error = &kernelError{"destroying sockets needs CAP_NET_ADMIN in the user namespace " +
		"that owns the network namespace", unix.EPERM}
)

// OpenError is the error of opening a sock_diag socket.
type OpenError struct{ Err error }

func (e *OpenError) Error() string {
	text := "open sock_diag socket: " + e.Err.Error()
	if e.Refused() {
		text += ": a seccomp filter or a security module refuses socket(AF_NETLINK): allow it (systemd: RestrictAddressFamilies=AF_NETLINK)"
	}
	return text
}

// Unwrap returns the errno.
func (e *OpenError) Unwrap() error { return e.Err }

// Refused reports whether something refuses all sockets of AF_NETLINK. Otherwise the kernel lacks sock_diag, or memory
// or descriptors are short.
func (e *OpenError) Refused() bool {
	return errors.Is(e.Err, unix.EPERM) || errors.Is(e.Err, unix.EACCES) || errors.Is(e.Err, unix.EAFNOSUPPORT)
}

// ErrBadID means that an ID does not name one TCP socket, so the kernel was not asked: its cookie is 0 or
// INET_DIAG_NOCOOKIE (all ones), or its family is neither AF_INET nor AF_INET6.
var ErrBadID = errors.New("socket id lacks a cookie or an address family: take it from a dump, or the cookie from SO_COOKIE")

// ErrNotReady means that the kernel was not asked, because the caller's function ready returned false.
var ErrNotReady = errors.New("caller was not ready any more")

var (
	errClosed   = errors.New("conn is closed")
	errBusy     = errors.New("conn is in use: do not call it from a visit function, nor after one panicked")
	errNoAnswer = errors.New("kernel sent no answer")
	errNotAsked = errors.New("kernel acknowledged what was not to be acknowledged")
)

// kernelError is an errno with advice.
type kernelError struct {
	msg   string
	errno unix.Errno
}

func (e *kernelError) Error() string { return e.msg + " (" + unix.ErrnoName(e.errno) + ")" }

func (e *kernelError) Unwrap() error { return e.errno }

// lookupError is what an errno means as the answer to a look-up; nil for 0.
func lookupError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOENT:
		return ErrGone
	}
	return fmt.Errorf("look up socket: %w", errno)
}

// destroyError is what an errno means as the answer to a destroy; nil for 0.
func destroyError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOENT:
		return ErrGone
	case unix.EOPNOTSUPP:
		return ErrUnsupported
	case unix.EPERM:
		return ErrDenied
	case unix.EACCES:
		return fmt.Errorf("%w: %w", ErrDenied, errno)
	}
	return fmt.Errorf("destroy socket: %w", errno)
}
