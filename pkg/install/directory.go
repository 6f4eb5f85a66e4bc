// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// directory is an open directory of the node, which installers change. All names are those of files right in it, and
// no symbolic link is followed.
type directory struct {
	dir  *hostfs.Directory
	path string // on the node
}

func openDirectory(root hostfs.Dir, path string) (*directory, error) {
	dir, err := root.OpenDirectory(path)
	if err != nil {
		return nil, err
	}
	return &directory{dir: dir, path: path}, nil
}

// below opens a directory in the directory.
func (d *directory) below(name string) (*directory, error) {
	sub, err := d.dir.Below(name)
	if err != nil {
		return nil, advised(err)
	}
	return &directory{dir: sub, path: sub.Path()}, nil
}

func (d *directory) close() { d.dir.Close() }

func (d *directory) fd() int { return d.dir.FD() }

// failed names the file that an operation failed at.
func (d *directory) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return advised(&fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err})
}

// advised adds to an error what to do about it.
func advised(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: mount it writable, or run this where it is", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
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
		err := hostfs.RetryErr(func() error { return unix.Flock(d.fd(), unix.LOCK_EX|unix.LOCK_NB) })
		switch {
		case err == nil:
			return nil
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

// entries returns the files in the directory, sorted by name.
func (d *directory) entries() ([]fs.DirEntry, error) {
	all, err := d.dir.Entries()
	return all, advised(err)
}

func (d *directory) open(name string, flags int, mode uint32) (*os.File, error) {
	f, err := d.dir.Open(name, flags, mode)
	return f, advised(err)
}

// content is what a file held when it was read.
type content struct {
	data []byte
	stat unix.Stat_t
}

// read reads a regular file.
func (d *directory) read(name string) (content, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return readFile(f)
}

func readFile(f *os.File) (content, error) {
	data, stat, err := cniconf.ReadFile(f)
	if _, named := errors.AsType[*fs.PathError](err); err != nil && !named {
		err = fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return content{data, stat}, err
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

// checkPlace returns an error if a directory has the name of a program, which neither rename(2) nor unlink(2) would
// remove.
func (d *directory) checkPlace(name string) error {
	var stat unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("%w, and a program gets this name: remove it", d.failed("check", name, unix.EISDIR))
	}
	return d.failed("stat", name, err)
}

// checkWritable returns why no file can be made in the directory, as a dry run has to know without making one.
func (d *directory) checkWritable() error {
	return d.failed("write to", "", unix.Faccessat(d.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS))
}

func (d *directory) remove(name string) error {
	return d.failed("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

// sync makes the names in the directory outlive a power failure.
func (d *directory) sync() error { return d.dir.Sync() }
