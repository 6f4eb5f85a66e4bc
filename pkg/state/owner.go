// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// UnsafeDirError is the error of using a directory in which another user could replace records, the switch, the lock
// or the log.
type UnsafeDirError struct {
	Path string
	UID  uint32      // the owner
	Mode fs.FileMode // the permission bits; the group's are the mask if there is an access control list (acl(5))
	// Foreign reports that the owner is neither root nor the effective user of this process. Otherwise the mode is at
	// fault.
	Foreign bool
}

// Error implements error.
func (e *UnsafeDirError) Error() string { return e.Problem() + ": " + e.Remedy() }

// Problem returns what is wrong with the directory.
func (e *UnsafeDirError) Problem() string {
	if e.Foreign {
		return fmt.Sprintf("%s belongs to user %d, who can decide which sockets are destroyed", e.Path, e.UID)
	}
	return fmt.Sprintf("%s has mode %#o: users other than its owner can decide which sockets are destroyed", e.Path, e.Mode)
}

// Remedy returns what to do about it.
func (e *UnsafeDirError) Remedy() string {
	if e.Foreign {
		return "run chown root: " + e.Path
	}
	return "run chmod go-w " + e.Path
}

// CheckDir returns an *UnsafeDirError if the directory belongs to another user than root and the effective user of this
// process, or if its group or all users may write to it. It returns nil for an absent directory.
func CheckDir(path string) error {
	var st unix.Stat_t
	err := hostfs.RetryErr(func() error { return unix.Stat(path, &st) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return checkOwner(path, st)
}

// checkOwner is CheckDir for an open directory. The sticky bit changes nothing: in such a directory another user may
// create a file that is still absent.
func checkOwner(path string, st unix.Stat_t) error {
	e := &UnsafeDirError{Path: path, UID: st.Uid, Mode: fs.FileMode(st.Mode & 0o7777)}
	e.Foreign = !slices.Contains([]uint32{0, uint32(os.Geteuid())}, st.Uid) //nolint:gosec // a user ID has 32 bits
	if e.Foreign || st.Mode&0o022 != 0 {
		return e
	}
	return nil
}

// checkFD is checkOwner for an open descriptor.
func checkFD(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return checkOwner(path, st)
}

// checkRoot is checkOwner for a directory that is open as a root.
func checkRoot(root *os.Root, path string) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return checkFD(int(dir.Fd()), path)
}
