// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Opener opens sock_diag in recorded network namespaces. Its methods may be called concurrently.
type Opener struct {
	Root *netns.Root // where the paths resolve
}

// Open opens a sock_diag socket in n and in no other network namespace: it compares the file at a path with
// n.Identity, by device and inode before it enters and by cookie afterwards; without a cookie, by n.Recorded. If n is at none of its paths any
// more, netns.IsGone(err). It needs CAP_SYS_ADMIN.
//
// The socket pins the network namespace, so the caller closes it after one operation.
func (o Opener) Open(n Netns) (*inetdiag.Conn, error) {
	return o.openIf(n, func() bool { return true })
}

// errNoPath means that nothing leads to a network namespace.
var errNoPath = errors.New("no path of the network namespace is known")

// openIf is Open with a condition, which runs inside the network namespace. If it returns false, openIf opens
// no socket and returns nil, nil.
func (o Opener) openIf(n Netns, condition func() bool) (*inetdiag.Conn, error) {
	if len(n.Paths) == 0 {
		return nil, errNoPath
	}
	var gone, other []error
	for _, path := range n.Paths {
		conn, err := o.openPath(path, n.Identity, n.Recorded, condition)
		switch {
		case err == nil:
			return conn, nil
		case netns.IsGone(err):
			gone = append(gone, err)
		default:
			other = append(other, err)
		}
	}
	if len(other) > 0 { // these paths may still lead to it
		return nil, errors.Join(other...)
	}
	return nil, errors.Join(gone...)
}

func (o Opener) openPath(path string, want netns.Identity, recorded time.Time, condition func() bool) (*inetdiag.Conn, error) {
	h, err := o.Root.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if !h.Stat().Same(want) {
		return nil, fmt.Errorf("%s: %w", path, netns.ErrMismatch)
	}
	if want.Cookie == 0 && !recorded.IsZero() { // the kernel reuses inode numbers, and may have no cookies
		since, ok, err := h.MountedSince()
		if ok && since.After(recorded) {
			err = fmt.Errorf("%w: mounted at %v, recorded at %v", netns.ErrMismatch, since, recorded)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	var conn *inetdiag.Conn
	err = h.Do(func() (err error) {
		if !condition() {
			return nil
		}
		if conn, err = inetdiag.Open(); err == nil {
			err = conn.CheckTCP() // otherwise each socket would count as gone
		}
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
	// The kernel reuses inode numbers within a boot, but no cookie.
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

// IsRefused reports whether an error of Open, or of a Sink's Failed, means that the reaper may not enter network namespaces: a
// capability is missing, a seccomp filter or a security module refuses setns(2) or AF_NETLINK sockets, or the kernel does not
// answer about TCP sockets. The network namespace exists, and its sockets are not judged until an operator changes that.
func IsRefused(err error) bool {
	if errors.Is(err, inetdiag.ErrNoTCP) {
		return true
	}
	if open, ok := errors.AsType[*inetdiag.OpenError](err); ok {
		return open.Refused()
	}
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// TryOpen tests whether the reaper may enter network namespaces: it enters its own and opens sock_diag there. It has no
// lasting effect. IsRefused classifies the error.
func TryOpen() error {
	own, err := netns.OpenOwn()
	if err != nil {
		return err
	}
	defer own.Close()
	return own.Do(func() error {
		conn, err := inetdiag.Open()
		if err != nil {
			return err
		}
		return errors.Join(conn.CheckTCP(), conn.Close())
	})
}
