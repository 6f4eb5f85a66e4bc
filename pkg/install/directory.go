// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// directory is an open directory of the node. All names are those of files right in it, and no symbolic link
// is followed.
type directory struct {
	f    *os.File
	path string // on the node
	host host
}

func openDirectory(h host, path string) (*directory, error) {
	var deleted uint64
	for {
		f, err := h.open(path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		d := &directory{f: f, path: path, host: h}
		var stat unix.Stat_t
		if err := unix.Fstat(d.fd(), &stat); err != nil || stat.Nlink > 0 {
			return d, nil
		}
		d.close()
		if stat.Ino == deleted { // it was not just on its way out
			return nil, fmt.Errorf("%s %w", path, errDeleted)
		}
		deleted = stat.Ino
	}
}

// errDeleted says of a directory that the node has it no more. A mount of it stays, in a container, and does not show what
// is in its place.
var errDeleted = errors.New("was deleted on the node while it is mounted here: start this again to see what is in its place")

// below opens a directory in the directory.
func (d *directory) below(name string) (*directory, error) {
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &directory{f: f, path: filepath.Join(d.path, name), host: d.host}, nil
}

func (d *directory) close() { d.f.Close() }

func (d *directory) fd() int { return int(d.f.Fd()) }

// failed names the file that an operation failed at.
func (d *directory) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, unix.EROFS):
		err = fmt.Errorf("%w: mount it writable, or run this where it is", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: run this as root", err)
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// lockPatience is how long another installer may work before that is an error. One takes a few milliseconds, or
// seconds where it waits for somebody to finish writing.
const lockPatience = 15 * time.Second

// lock keeps other installers of ours away from the directory until it is closed. It is the directory itself
// that is locked: there is no file to leave behind.
func (d *directory) lock(ctx context.Context, patience time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := unix.Flock(d.fd(), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return d.failed("lock", "", err)
		case pause(patient, 20*time.Millisecond):
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return fmt.Errorf("lock %s: another halfclose install or uninstall works there: try again when it has ended", d.path)
		}
	}
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// entries returns what is in the directory, sorted by name.
func (d *directory) entries() ([]fs.DirEntry, error) {
	again, err := d.below(".") // which begins at the beginning
	if err != nil {
		return nil, err
	}
	defer again.close()
	all, err := again.f.ReadDir(-1)
	if err != nil {
		return nil, d.failed("read", "", err)
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

func (d *directory) open(name string, flags int, mode uint32) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	})
	if err != nil {
		return nil, d.failed("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// content is what a file held when it was read.
type content struct {
	data []byte
	stat unix.Stat_t
}

// maxSize bounds what is read of a configuration.
const maxSize = 4 << 20

// read reads a regular file.
func (d *directory) read(name string) (content, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return readFile(f)
}

// readFile reads a regular file. What is said of it was so after that: one that somebody has written meanwhile
// shows it.
func readFile(f *os.File) (content, error) {
	info, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	if !info.Mode().IsRegular() {
		return content{}, fmt.Errorf("read %s: it is no regular file", f.Name())
	}
	var c content
	if c.data, err = io.ReadAll(io.LimitReader(f, maxSize+1)); err != nil {
		return content{}, err
	}
	if len(c.data) > maxSize {
		return content{}, fmt.Errorf("read %s: it has more than %d bytes", f.Name(), maxSize)
	}
	if err := unix.Fstat(int(f.Fd()), &c.stat); err != nil {
		return content{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return c, nil
}

// create writes a new file with the mode and the owner of another, and returns its inode. When it returns, the
// file would outlive a power failure, but for its name. Of what fails nothing is left.
func (d *directory) create(name string, data []byte, like unix.Stat_t) (inode uint64, err error) {
	f, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, d.remove(name))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, d.failed("stat", name, err)
	}
	if stat.Uid != like.Uid || stat.Gid != like.Gid {
		if err := f.Chown(int(like.Uid), int(like.Gid)); err != nil {
			return 0, err
		}
	}
	if err := unix.Fchmod(int(f.Fd()), like.Mode&0o7777); err != nil {
		return 0, d.failed("chmod", name, err)
	}
	return stat.Ino, f.Sync()
}

// mine is what a new file is like that is not in the place of another.
func mine(mode uint32) unix.Stat_t {
	return unix.Stat_t{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), Mode: mode}
}

func (d *directory) remove(name string) error {
	return d.failed("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

// sync makes the names in the directory outlive a power failure.
func (d *directory) sync() error { return d.f.Sync() }
