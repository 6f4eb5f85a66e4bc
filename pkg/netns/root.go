// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Root is the root directory below which paths resolve: the process's own, or the directory at which a container has the
// host's file system mounted. Its methods may be called concurrently. Each returns within a few seconds, with ErrHangs if a
// file system does not answer.
type Root struct {
	root *hostfs.Root
	hung *hung
}

// NewRoot opens the root directory dir, or the process's own for "" and "/".
//
// Below another dir, paths resolve as after chroot(2) (see hostfs.Root), except for paths under /proc: these always resolve
// in the process's own /proc.
func NewRoot(dir string) (*Root, error) {
	root, err := hostfs.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root: root, hung: newHung()}, nil
}

// Open is the function Open for a path below the root.
func (r *Root) Open(path string) (*Handle, error) {
	return within(r.hung, path, func() (*Handle, error) { return r.open(path) }, func(h *Handle) { _ = h.Close() })
}

func (r *Root) open(path string) (*Handle, error) {
	if own, ok := r.isOwn(path); ok {
		return Open(own)
	}
	h, err := open(path, r.root.OpenPath)
	if err != nil {
		return nil, fmt.Errorf("below host root %s: %w", r.root.Dir(), err)
	}
	return h, nil
}

// isOwn reports whether a path resolves in the process's own root, and returns it as it resolves there.
func (r *Root) isOwn(path string) (string, bool) {
	if r.root.Dir() == "" {
		return path, true
	}
	clean := filepath.Clean(path)
	return clean, strings.HasPrefix(clean+"/", "/proc/")
}

// Stat returns device and inode of the file that a path leads to, which may be no network namespace. It costs less than Open,
// and shows whether the path still leads to a namespace that Open has opened.
func (r *Root) Stat(path string) (Identity, error) {
	return within(r.hung, path, func() (Identity, error) { return r.stat(path) }, func(Identity) {})
}

func (r *Root) stat(path string) (Identity, error) {
	var st unix.Stat_t
	if own, ok := r.isOwn(path); ok {
		if err := hostfs.RetryErr(func() error { return unix.Stat(own, &st) }); err != nil {
			return Identity{}, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		return Identity{Dev: uint64(st.Dev), Inode: st.Ino}, nil // 32 bits wide on mips
	}
	fd, err := r.root.OpenPath(path)
	if err != nil {
		return Identity{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return Identity{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return Identity{Dev: uint64(st.Dev), Inode: st.Ino}, nil
}

// SeesDirOf reports whether the directory of a path below the root exists here. If it does not, a missing file at the path
// proves nothing, because a container may not have the directory mounted. It is true for paths under /proc, which always
// resolve in the process's own /proc.
func (r *Root) SeesDirOf(path string) bool {
	dir := filepath.Dir(filepath.Clean(path))
	if strings.HasPrefix(dir+"/", "/proc/") {
		return true
	}
	sees, err := within(r.hung, dir, func() (bool, error) { return r.root.Has(dir), nil }, func(bool) {})
	return err == nil && sees
}

// Close closes the root directory. Closing again does nothing. Afterwards Open fails below a root other than the process's
// own.
func (r *Root) Close() error { return r.root.Close() }
