// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Directory is an open directory of the node. Its methods take names of files in it, and follow no symbolic link except for
// Follow and FollowBelow.
type Directory struct {
	f    *os.File
	path string // on the node
	root Dir
}

// ErrDeleted is the error of opening a directory that was deleted on the node. In a container its mount remains, and hides a
// directory that the node has recreated.
var ErrDeleted = errors.New("was deleted on the node while it is mounted here: restart this container to mount the current one")

// OpenDirectory opens the directory that an absolute path of the node leads to.
func (d Dir) OpenDirectory(path string) (*Directory, error) {
	var deleted uint64
	for {
		f, err := d.Open(path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		var stat unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &stat); err != nil || stat.Nlink > 0 {
			return &Directory{f: f, path: path, root: d}, nil
		}
		f.Close()
		if stat.Ino == deleted { // the same again: it was not deleted between resolving and opening
			return nil, fmt.Errorf("%s %w", path, ErrDeleted)
		}
		deleted = stat.Ino
	}
}

// Path returns the directory's path on the node.
func (d *Directory) Path() string { return d.path }

// FD returns the descriptor of the directory, which Close closes.
func (d *Directory) FD() int { return int(d.f.Fd()) }

// Close closes the directory.
func (d *Directory) Close() error { return d.f.Close() }

// Sync writes the directory to disk, so that its names survive a power failure.
func (d *Directory) Sync() error { return d.f.Sync() }

// Open opens a file in the directory. A symbolic link is an error (ELOOP), and a FIFO does not block it.
func (d *Directory) Open(name string, flags int, mode uint32) (*os.File, error) {
	fd, err := Retry(func() (int, error) {
		return unix.Openat(d.FD(), name, withDefaults(flags)|unix.O_NOFOLLOW, mode)
	})
	path := filepath.Join(d.path, name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Follow opens a file in the directory for reading, or the target of a symbolic link in it.
func (d *Directory) Follow(name string) (*os.File, error) {
	f, err := d.Open(name, unix.O_RDONLY, 0)
	if errors.Is(err, unix.ELOOP) {
		return d.root.Open(filepath.Join(d.path, name), unix.O_RDONLY)
	}
	return f, err
}

// Below opens a directory in the directory.
func (d *Directory) Below(name string) (*Directory, error) {
	f, err := d.Open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Directory{f: f, path: filepath.Join(d.path, name), root: d.root}, nil
}

// FollowBelow opens a directory in the directory, or the target of a symbolic link in it.
func (d *Directory) FollowBelow(name string) (*Directory, error) {
	sub, err := d.Below(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // a link, or not a directory
		return d.root.OpenDirectory(filepath.Join(d.path, name))
	}
	return sub, err
}

// Entries returns the files in the directory, sorted by name.
func (d *Directory) Entries() ([]fs.DirEntry, error) {
	again, err := d.Below(".") // at offset 0
	if err != nil {
		return nil, err
	}
	defer again.Close()
	all, err := again.f.ReadDir(-1)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: d.path, Err: cause(err)}
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// cause returns an error without the operation and the path of package os.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
