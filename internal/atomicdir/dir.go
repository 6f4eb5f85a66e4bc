// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package atomicdir changes the files of a directory that other processes change too, without locks of theirs.
//
// A file is exchanged with its replacement in one step (renameat2(2), RENAME_EXCHANGE), and the old file is compared with
// the content from which the replacement was made. If they differ, another process has written the file: the exchange is
// undone and repeated. A process that is killed between any two steps leaves complete files, and temporary ones that the
// next [Dir.Lock] puts back or removes. The lock excludes other users of this package only.
package atomicdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Dir is an open directory of the node. Names are those of files directly in it. Symbolic links are not followed.
type Dir struct {
	dir      *hostfs.Directory
	path     string // on the node
	lockFile *os.File
	onStep   func(op, path string)
}

// Open opens a directory. onStep, unless nil, is called before each operation on a file, for tests.
func Open(root hostfs.Dir, path string, onStep func(op, path string)) (*Dir, error) {
	dir, err := root.OpenDirectory(path)
	if err != nil {
		return nil, err
	}
	return &Dir{dir: dir, path: path, onStep: onStep}, nil
}

// Close closes the directory, and releases its lock.
func (d *Dir) Close() {
	defer d.dir.Close()
	d.unlock()
}

// Host returns the directory for reading.
func (d *Dir) Host() *hostfs.Directory { return d.dir }

// Path returns the directory's path on the node.
func (d *Dir) Path() string { return d.path }

// FD returns the directory's file descriptor.
func (d *Dir) FD() int { return d.dir.FD() }

// Step reports an operation to a test before it begins.
func (d *Dir) Step(op, name string) {
	if d.onStep != nil {
		d.onStep(op, filepath.Join(d.path, name))
	}
}

// Below opens a directory in the directory.
func (d *Dir) Below(name string) (*Dir, error) {
	d.Step("open directory", name)
	sub, err := d.dir.Below(name)
	if err != nil {
		return nil, WithRemedy(err)
	}
	return &Dir{dir: sub, path: sub.Path(), onStep: d.onStep}, nil
}

// PathError adds the operation, the file and a remedy to an error; nil stays nil.
func (d *Dir) PathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return WithRemedy(&fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err})
}

// WithRemedy adds to an error what to do about it.
func WithRemedy(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: mount it writable, or run this where it is", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// Entries returns the files in the directory, sorted by name.
func (d *Dir) Entries() ([]fs.DirEntry, error) {
	d.Step("list", "")
	all, err := d.dir.Entries()
	return all, WithRemedy(err)
}

func (d *Dir) open(name string, flags int, mode uint32) (*os.File, error) {
	d.Step("open", name)
	f, err := d.dir.Open(name, flags, mode)
	return f, WithRemedy(err)
}

// Lstat returns the status of a file, of a symbolic link itself.
func (d *Dir) Lstat(name string) (stat unix.Stat_t, err error) {
	err = unix.Fstatat(d.FD(), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return stat, err
}

// content is the data and the status of a file at one time.
type content struct {
	data []byte
	stat unix.Stat_t
}

// Read reads a regular file.
func (d *Dir) Read(name string) ([]byte, error) {
	c, err := d.read(name)
	return c.data, err
}

func (d *Dir) read(name string) (content, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	d.Step("read", name)
	data, stat, err := cniconf.ReadFile(f)
	if _, named := errors.AsType[*fs.PathError](err); err != nil && !named {
		err = fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return content{data, stat}, err
}

// create writes a new file with the mode and the owner in like, and returns its inode number. The data, but not yet the
// name, is on disk when it returns. If it fails it leaves no file.
func (d *Dir) create(name string, data []byte, like unix.Stat_t) (inode uint64, err error) {
	f, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, d.Remove(name))
		}
	}()
	d.Step("write", name)
	if _, err := f.Write(data); err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, d.PathError("stat", name, err)
	}
	d.Step("set the mode", name)
	if stat.Uid != like.Uid || stat.Gid != like.Gid {
		if err := f.Chown(int(like.Uid), int(like.Gid)); err != nil {
			return 0, err
		}
	}
	if err := unix.Fchmod(int(f.Fd()), like.Mode&0o7777); err != nil {
		return 0, d.PathError("chmod", name, err)
	}
	return stat.Ino, f.Sync()
}

// CreateNew creates a complete file under a name that must not exist yet.
func (d *Dir) CreateNew(name string, data []byte, like unix.Stat_t) error {
	tmp := temporaryName(digest(data), name)
	if _, err := d.create(tmp, data, like); err != nil {
		return err
	}
	if err := d.RenameNew(tmp, name); err != nil {
		return errors.Join(err, d.Remove(tmp))
	}
	return d.Sync()
}

// DefaultOwner returns this process's user and group, with the mode given, for a file that replaces none.
func DefaultOwner(mode uint32) unix.Stat_t {
	return unix.Stat_t{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), Mode: mode}
}

// CheckWritable returns why no file can be created in the directory. It creates none, for a dry run.
func (d *Dir) CheckWritable() error {
	return d.PathError("write to", "", unix.Faccessat(d.FD(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS))
}

func (d *Dir) rename(from, to string, flags uint) error {
	d.Step("rename", from)
	return d.PathError("rename to", to, unix.Renameat2(d.FD(), from, d.FD(), to, flags))
}

// RenameNew renames a file to a name that must not exist yet.
func (d *Dir) RenameNew(from, to string) error {
	err := d.rename(from, to, unix.RENAME_NOREPLACE)
	if !cannotRenameWithFlags(err) {
		return err
	}
	if _, err := d.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return d.PathError("rename to", to, fs.ErrExist)
	}
	return d.rename(from, to, 0)
}

// cannotRenameWithFlags reports whether the file system supports neither RENAME_EXCHANGE nor RENAME_NOREPLACE.
func cannotRenameWithFlags(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// Remove removes a file.
func (d *Dir) Remove(name string) error {
	d.Step("remove", name)
	return d.PathError("remove", name, unix.Unlinkat(d.FD(), name, 0))
}

// Sync writes the names in the directory to disk.
func (d *Dir) Sync() error {
	d.Step("sync", "")
	return d.dir.Sync()
}

// Mkdir creates a directory in the directory, unless it exists.
func (d *Dir) Mkdir(name string, mode uint32) error {
	d.Step("create directory", name)
	if err := unix.Mkdirat(d.FD(), name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return d.PathError("create directory", name, err)
	}
	return d.Sync()
}

// RmdirIfEmpty removes a directory in the directory if it is empty.
func (d *Dir) RmdirIfEmpty(name string) error {
	d.Step("remove directory", name)
	err := unix.Unlinkat(d.FD(), name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return errors.Join(d.PathError("remove", name, err), d.Sync())
}

// PutFile replaces a file in one step, whatever it holds.
func (d *Dir) PutFile(name string, data []byte, like unix.Stat_t) error {
	return d.put(name, data, func(tmp string) error {
		_, err := d.create(tmp, data, like)
		return err
	})
}

// PutLink replaces a file by a symbolic link in one step.
func (d *Dir) PutLink(name, target string) error {
	return d.put(name, []byte(target), func(tmp string) error {
		d.Step("link", tmp)
		return d.PathError("link", tmp, unix.Symlinkat(target, d.FD(), tmp))
	})
}

func (d *Dir) put(name string, content []byte, create func(tmp string) error) error {
	tmp := temporaryName(digest(content), name)
	if err := create(tmp); err != nil {
		return err
	}
	if err := d.rename(tmp, name, 0); err != nil {
		return errors.Join(err, d.Remove(tmp))
	}
	return d.Sync()
}
