// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StoreFile replaces a file in a state directory atomically, with mode 0600, and creates the directory. It refuses a
// directory in which another user can write. If it returns nil, the file survives a power failure.
func StoreFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	if err := checkFD(fd, dir); err != nil {
		return err
	}
	return replaceIn(fd, filepath.Base(path), data, acrossReboots)
}
