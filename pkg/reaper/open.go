// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

// errOtherNamespace says that a path leads to another namespace than the recorded one.
var errOtherNamespace = errors.New("path leads to another network namespace than the recorded one")

// opener opens sock_diag sockets in namespaces.
type opener struct {
	root *netns.Root
}

// open opens a sock_diag socket in the target's namespace, and in no other: what a path leads to is
// compared with what was recorded, before and after the socket is opened. inside, if not nil, runs in the
// namespace before the socket is opened; when it returns false none is, and conn is nil.
//
// The socket pins the namespace: the caller closes it as soon as its one operation is done.
func (o opener) open(t Target, inside func() bool) (*inetdiag.Conn, error) {
	var ended, other []error
	for _, path := range t.Paths {
		conn, err := o.openPath(path, t.Identity, inside)
		switch {
		case err == nil:
			return conn, nil
		case gone(err):
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

func (o opener) openPath(path string, want netns.Identity, inside func() bool) (*inetdiag.Conn, error) {
	h, err := o.root.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if !h.Stat().Same(want) {
		return nil, fmt.Errorf("%s: %w", path, errOtherNamespace)
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
		err = errOtherNamespace
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return conn, nil
}

// gone reports whether err says that the namespace is not there any more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherNamespace)
}
