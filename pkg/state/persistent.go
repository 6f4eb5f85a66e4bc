// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StoreFile replaces a file in a state directory atomically, with mode 0600, and creates the directory. It refuses a
// directory in which another user can write. If it returns nil, the file survives a power failure.
func StoreFile(path string, data []byte) error {
	fd, err := openDirOf(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return replaceIn(fd, filepath.Base(path), data, acrossReboots)
}

// openDirOf opens the directory of a file, for writing in it, and creates it. It refuses one in which another user can write.
func openDirOf(path string) (fd int, err error) {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return -1, err
	}
	fd, err = openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := checkFD(fd, dir); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
