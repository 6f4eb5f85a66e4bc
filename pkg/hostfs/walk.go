// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The reasons not to rely on a file: a user other than root could have written it.
var (
	ErrMissing  = errors.New("missing")
	ErrNotRoots = errors.New("not owned by root")
	ErrWritable = errors.New("writable by other users than root")
)

// CheckOwner returns an error that wraps ErrNotRoots or ErrWritable unless a file is root's and writable by root alone. With
// an access control list, the group bits are its mask (acl(5)).
func CheckOwner(what string, st unix.Stat_t) error {
	switch {
	case st.Uid != 0:
		return fmt.Errorf("%s: %w but by user %d", what, ErrNotRoots, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s: %w (mode %04o)", what, ErrWritable, st.Mode&0o7777)
	}
	return nil
}

// maxLinks is the kernel's limit of symbolic links in one path (path_resolution(7)).
const maxLinks = 40

// Walk resolves an absolute path below a root one component at a time. If only root can write to all of its directories,
// the path still resolves to the same file when it is opened.
type Walk struct {
	Root string // "" is the process's own
	// Visit is called for each directory, symbolic link and file on the path, in the order of the kernel; its error ends the
	// walk. It may be nil.
	Visit func(path string, st unix.Stat_t) error
	// Links is the number of symbolic links that the last To has followed.
	Links int
}

// To returns the file at a path, with every symbolic link resolved. The error wraps ErrMissing if a component is missing.
func (w *Walk) To(path string) (at string, st unix.Stat_t, err error) {
	at, w.Links = "/", 0
	rest := strings.Split(path, "/")
	if st, err = w.enter(at); err != nil {
		return "", st, err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			if st, err = w.enter(at); err != nil {
				return "", st, err
			}
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", st, &fs.PathError{Op: "look up", Path: filepath.Join(at, name), Err: unix.ENOTDIR}
		}
		next := filepath.Join(at, name)
		if err := unix.Lstat(w.Root+next, &st); err != nil {
			return "", st, lookupError(path, next, err)
		}
		if w.Visit != nil {
			if err := w.Visit(next, st); err != nil {
				return "", st, err
			}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = next
			continue
		}
		if w.Links++; w.Links > maxLinks {
			return "", st, &fs.PathError{Op: "look up", Path: path, Err: unix.ELOOP}
		}
		target, err := os.Readlink(w.Root + next)
		if err != nil {
			return "", st, err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
		if st, err = w.enter(at); err != nil {
			return "", st, err
		}
	}
	return at, st, nil
}

// enter visits a directory that is no symbolic link.
func (w *Walk) enter(dir string) (st unix.Stat_t, err error) {
	if err := unix.Lstat(w.Root+dir, &st); err != nil {
		return st, &fs.PathError{Op: "look up", Path: dir, Err: err}
	}
	if w.Visit != nil {
		err = w.Visit(dir, st)
	}
	return st, err
}

// lookupError returns the error for a path with a component that cannot be looked up.
func lookupError(path, at string, err error) error {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return &fs.PathError{Op: "look up", Path: at, Err: err}
	case at == path:
		return fmt.Errorf("%s: %w", path, ErrMissing)
	}
	return fmt.Errorf("%s: leads to %s, which is %w", path, at, ErrMissing)
}
