// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"fmt"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Opener opens sock_diag sockets in namespaces.
type Opener struct {
	Root *netns.Root
}

// Open opens a sock_diag socket in the target's namespace, and in no other: what a path leads to is
// compared with what was recorded, before and after the socket is opened. inside, if not nil, runs in the
// namespace before the socket is opened; when it returns false none is, and conn is nil.
//
// The socket pins the namespace: the caller closes it as soon as its one operation is done.
func (o Opener) Open(t Target, inside func() bool) (*inetdiag.Conn, error) {
	var ended, other []error
	for _, path := range t.Paths {
		conn, err := o.openPath(path, t.Identity, inside)
		switch {
		case err == nil:
			return conn, nil
		case netns.IsGone(err):
			ended = append(ended, err)
		default:
			other = append(other, err)
		}
	}
	if len(other) > 0 { // it may still be there
		return nil, errors.Join(other...)
	}
	return nil, errors.Join(ended...)
}

func (o Opener) openPath(path string, want netns.Identity, inside func() bool) (*inetdiag.Conn, error) {
	h, err := o.Root.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if !h.Stat().Same(want) {
		return nil, fmt.Errorf("%s: %w", path, netns.ErrMismatch)
	}
	var conn *inetdiag.Conn
	err = h.Do(func() (err error) {
		if inside != nil && !inside() {
			return nil
		}
		conn, err = inetdiag.Open()
		return err
	})
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, fmt.Errorf("open sock_diag in %s: %w", path, err)
	}
	if conn == nil || want.Cookie == 0 {
		return conn, nil
	}
	// Inode numbers are reused within a boot; the cookie is not.
	cookie, err := conn.NetnsCookie()
	if err == nil && cookie != want.Cookie {
		err = netns.ErrMismatch
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return conn, nil
}
