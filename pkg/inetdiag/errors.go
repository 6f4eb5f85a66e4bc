// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The kernel's errors about one socket. errors.Is also finds the errno of each.
var (
	// ErrGone means that the socket does not exist any more. Another socket may have the same addresses and ports. It is
	// ENOENT.
	ErrGone error = &kernelError{"socket is gone", unix.ENOENT}

	// ErrUnsupported means that the kernel cannot destroy sockets. It is EOPNOTSUPP.
	ErrUnsupported error = &kernelError{"kernel was built without CONFIG_INET_DIAG_DESTROY: " +
		"use one that has it (Debian, Ubuntu, RHEL 9 and later do)", unix.EOPNOTSUPP}

	// ErrNoTCP means that the kernel does not answer about TCP sockets. It is no ENOENT, which the kernel answers: about one
	// socket that would mean ErrGone, and about a path that nothing is there.
	ErrNoTCP = errors.New("kernel does not answer about TCP sockets: load the modules inet_diag and tcp_diag (CONFIG_INET_TCP_DIAG)")

	// ErrDenied means that the caller may not destroy sockets of this network namespace. It is EPERM, or EACCES from a
	// security module.
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

// Refused reports whether a seccomp filter or a security module refuses AF_NETLINK sockets. Other causes are a kernel
// without sock_diag, and a lack of memory or descriptors.
func (e *OpenError) Refused() bool {
	return errors.Is(e.Err, unix.EPERM) || errors.Is(e.Err, unix.EACCES) || errors.Is(e.Err, unix.EAFNOSUPPORT)
}

// ErrBadID means that an ID does not name one TCP socket, and no request was sent: its cookie is 0 or INET_DIAG_NOCOOKIE
// (all ones), or its family is neither AF_INET nor AF_INET6.
var ErrBadID = errors.New("socket id lacks a cookie or an address family: take it from a dump, or the cookie from SO_COOKIE")

// ErrNotReady means that no request was sent, because the caller's function ready returned false.
var ErrNotReady = errors.New("cancelled by the caller before the request was sent")

var (
	errClosed   = errors.New("conn is closed")
	errBusy     = errors.New("conn is in use: do not call it from a visit function, nor after one panicked")
	errNoAnswer = errors.New("kernel sent no answer")
	errNotAsked = errors.New("kernel acknowledged a request that asked for no acknowledgement")
)

// kernelError is an errno with advice.
type kernelError struct {
	msg   string
	errno unix.Errno
}

func (e *kernelError) Error() string { return e.msg + " (" + unix.ErrnoName(e.errno) + ")" }

func (e *kernelError) Unwrap() error { return e.errno }

// lookupError returns the error for the errno in the answer to a lookup; nil for 0.
func lookupError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOENT:
		return ErrGone
	}
	return fmt.Errorf("look up socket: %w", errno)
}

// destroyError returns the error for the errno in the answer to a destroy; nil for 0.
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
