// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

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

// directory is an open directory of the node. Names are those of files directly in it. Symbolic links are not followed.
type directory struct {
	dir      *hostfs.Directory
	path     string // on the node
	lockFile *os.File
	onStep   func(op, path string)
}

func (d *directory) close() {
	defer d.dir.Close()
	d.unlock()
}

func (d *directory) fd() int { return d.dir.FD() }

// step reports an operation to a test before it begins.
func (d *directory) step(op, name string) {
	if d.onStep != nil {
		d.onStep(op, filepath.Join(d.path, name))
	}
}

// subdirectory opens a directory in the directory.
func (d *directory) subdirectory(name string) (*directory, error) {
	d.step("open directory", name)
	sub, err := d.dir.Below(name)
	if err != nil {
		return nil, withRemedy(err)
	}
	return &directory{dir: sub, path: sub.Path(), onStep: d.onStep}, nil
}

// pathError adds the operation, the file and a remedy to an error; nil stays nil.
func (d *directory) pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return withRemedy(&fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err})
}

func withRemedy(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: mount it writable, or run this where it is", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// entries returns the files in the directory, sorted by name.
func (d *directory) entries() ([]fs.DirEntry, error) {
	d.step("list", "")
	all, err := d.dir.Entries()
	return all, withRemedy(err)
}

func (d *directory) open(name string, flags int, mode uint32) (*os.File, error) {
	d.step("open", name)
	f, err := d.dir.Open(name, flags, mode)
	return f, withRemedy(err)
}

// lstat returns the status of a file, of a symbolic link itself.
func (d *directory) lstat(name string) (stat unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd(), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return stat, err
}

// content is the data and the status of a file at one time.
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
	d.step("read", name)
	data, stat, err := cniconf.ReadFile(f)
	if _, named := errors.AsType[*fs.PathError](err); err != nil && !named {
		err = fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return content{data, stat}, err
}

// create writes a new file with the mode and the owner in like, and returns its inode number. The data, but not yet the
// name, is on disk when it returns. If it fails it leaves no file.
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
	d.step("write", name)
	if _, err := f.Write(data); err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, d.pathError("stat", name, err)
	}
	d.step("set the mode", name)
	if stat.Uid != like.Uid || stat.Gid != like.Gid {
		if err := f.Chown(int(like.Uid), int(like.Gid)); err != nil {
			return 0, err
		}
	}
	if err := unix.Fchmod(int(f.Fd()), like.Mode&0o7777); err != nil {
		return 0, d.pathError("chmod", name, err)
	}
	return stat.Ino, f.Sync()
}

// createNew creates a complete file under a name that must not exist yet.
func (d *directory) createNew(name string, data []byte, like unix.Stat_t) error {
	tmp := temporaryName(digest(data), name)
	if _, err := d.create(tmp, data, like); err != nil {
		return err
	}
	if err := d.renameNew(tmp, name); err != nil {
		return errors.Join(err, d.remove(tmp))
	}
	return d.sync()
}

// defaultOwner returns this process's user and group, with the mode given, for a file that replaces none.
func defaultOwner(mode uint32) unix.Stat_t {
	return unix.Stat_t{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), Mode: mode}
}

// checkWritable returns why no file can be created in the directory. It creates none, for a dry run.
func (d *directory) checkWritable() error {
	return d.pathError("write to", "", unix.Faccessat(d.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS))
}

func (d *directory) rename(from, to string, flags uint) error {
	d.step("rename", from)
	return d.pathError("rename to", to, unix.Renameat2(d.fd(), from, d.fd(), to, flags))
}

// renameNew renames a file to a name that must not exist yet.
func (d *directory) renameNew(from, to string) error {
	err := d.rename(from, to, unix.RENAME_NOREPLACE)
	if !cannotRenameWithFlags(err) {
		return err
	}
	if _, err := d.lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return d.pathError("rename to", to, fs.ErrExist)
	}
	return d.rename(from, to, 0)
}

// cannotRenameWithFlags reports whether the file system supports neither RENAME_EXCHANGE nor RENAME_NOREPLACE.
func cannotRenameWithFlags(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

func (d *directory) remove(name string) error {
	d.step("remove", name)
	return d.pathError("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

// sync writes the names in the directory to disk.
func (d *directory) sync() error {
	d.step("sync", "")
	return d.dir.Sync()
}
