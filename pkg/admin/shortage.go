// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// shortageListener lets http.Server retry accept(2) after a lack of memory, as it does after a lack of file descriptors. It
// would end with the first one.
type shortageListener struct{ net.Listener }

func (l shortageListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) {
		err = shortageError{err}
	}
	return conn, err
}

// shortageError is a net.Error that http.Server takes for temporary.
type shortageError struct{ error }

func (e shortageError) Unwrap() error { return e.error }

// Timeout implements net.Error.
func (shortageError) Timeout() bool { return false }

// Temporary implements net.Error.
func (shortageError) Temporary() bool { return true }
