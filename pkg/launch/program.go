// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ReaperName is the name of the file in the plugin's directory that the plugin starts as the reaper: the command, or a
// symbolic link to it.
const ReaperName = "halfclose-reaper"

// The reasons for not starting a program. The plugin runs as root, and so would a file that another user can replace.
var (
	ErrMissing       = hostfs.ErrMissing
	ErrNotRoots      = hostfs.ErrNotRoots
	ErrWritable      = hostfs.ErrWritable
	ErrNotExecutable = errors.New("not a regular executable file")
	ErrNotELF        = errors.New("not executable: a script, or no ELF program")
	ErrNoExec        = errors.New("not executable: on a file system that is mounted noexec")
	ErrPlugin        = errors.New("the plugin itself, not the halfclose command")
)

// elfMagic begins each ELF file (elf(5)).
const elfMagic = "\x7fELF"

// Program is an executable file that only root can change or replace. It holds a descriptor until it is closed.
type Program struct {
	path string
	fd   int // O_PATH, of the file that was checked
	id   fileID
	size int64
}

// fileID identifies a file while it is open.
type fileID struct{ dev, inode uint64 }

// Path returns the program's path below the root, with every link resolved.
func (p *Program) Path() string { return p.path }

// Close closes the descriptor.
func (p *Program) Close() { _ = unix.Close(p.fd) } // an O_PATH descriptor has nothing to write back

// descriptor returns the path by which this process opens the checked file, even if the file has been replaced.
func (p *Program) descriptor() string { return "/proc/self/fd/" + strconv.Itoa(p.fd) }

// Sibling opens the program that this process, the plugin, may start as the reaper: ReaperName in the directory of
// its own executable.
func Sibling() (*Program, error) {
	const exe = "/proc/self/exe"
	self, err := os.Readlink(exe)
	if err != nil {
		return nil, fmt.Errorf("find the plugin's own directory: %w", err)
	}
	// After an upgrade another file has the plugin's name, and the kernel marks the running one as deleted.
	return beside("", filepath.Dir(self), exe, strings.TrimSuffix(self, " (deleted)"))
}

// SiblingOf is Sibling for the plugin at an absolute path below root, which is "" or "/" for the process's own root
// directory. Symbolic links in the plugin's path are resolved first, as the kernel resolves them to run the plugin.
func SiblingOf(root, plugin string) (*Program, error) {
	w := hostfs.Walk{Root: clean(root)}
	at, _, err := w.To(plugin)
	if err != nil {
		return nil, err
	}
	return beside(w.Root, filepath.Dir(at), w.Root+at)
}

// beside opens the program in a directory below root. The plugin is at paths of this process.
func beside(root, dir string, plugins ...string) (*Program, error) {
	path := filepath.Join(dir, ReaperName)
	p, err := Check(root, path)
	if err != nil {
		return nil, err
	}
	for _, plugin := range plugins {
		same, err := p.isFile(plugin)
		if err == nil && same {
			err = fmt.Errorf("%s: %w", path, ErrPlugin)
		}
		if err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// isFile reports whether the program is the file at a path of this process, or a copy of it.
func (p *Program) isFile(path string) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("check the plugin: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	case idOf(st) == p.id:
		return true, nil
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != p.size:
		return false, nil
	}
	plugin, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("compare %s with the plugin: %w", p.path, err)
	}
	program, err := os.ReadFile(p.descriptor())
	if err != nil {
		return false, fmt.Errorf("compare %s with the plugin: %w", p.path, err)
	}
	return bytes.Equal(plugin, program), nil
}

// Check opens the program at an absolute path below root. The program must be an executable ELF file on a file system that
// is not mounted noexec. The file, and each directory from / to it and to the target of each symbolic link, must be owned
// by root and writable by root alone. Otherwise the error wraps one of the reasons above, with the path. A sticky bit makes
// no exception, since another user can create new files in such a directory.
func Check(root, path string) (*Program, error) {
	w := hostfs.Walk{Root: clean(root), Visit: checkDirectory}
	at, seen, err := w.To(path)
	if err != nil {
		return nil, err
	}
	fd, err := hostfs.Retry(func() (int, error) { return unix.Open(w.Root+at, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	p := &Program{path: at, fd: fd, id: idOf(seen)}
	// Check the descriptor and not the path, since the descriptor is executed.
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
		err = &fs.PathError{Op: "stat", Path: at, Err: err}
	case idOf(st) != p.id:
		err = fmt.Errorf("%s: replaced while it was being checked", at)
	default:
		p.size = st.Size
		if err = checkFile(at, st); err == nil {
			err = p.checkExecutable()
		}
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// CheckDirectory returns why no program in the directory at an absolute path below root would be started, or nil if that
// depends on the program.
func CheckDirectory(root, dir string) error {
	w := hostfs.Walk{Root: clean(root), Visit: checkDirectory}
	_, _, err := w.To(dir)
	return err
}

// clean returns "" for the process's own root directory.
func clean(root string) string {
	if root = filepath.Clean(root); root == "/" || root == "." {
		return ""
	}
	return root
}

func idOf(st unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} } // Dev has 32 bits on mips

func checkFile(path string, st unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o100 == 0 {
		return fmt.Errorf("%s: %w", path, ErrNotExecutable)
	}
	return hostfs.CheckOwner(path, st)
}

// checkExecutable returns why the program cannot be executed. A script cannot: its interpreter would open the descriptor
// after it was closed.
func (p *Program) checkExecutable() error {
	var fsStat unix.Statfs_t
	if err := unix.Fstatfs(p.fd, &fsStat); err != nil {
		return &fs.PathError{Op: "statfs", Path: p.path, Err: err}
	}
	if fsStat.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("%s: %w", p.path, ErrNoExec)
	}
	fd, err := hostfs.Retry(func() (int, error) { return unix.Open(p.descriptor(), unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: p.path, Err: err}
	}
	defer unix.Close(fd)
	var magic [len(elfMagic)]byte
	n, err := hostfs.Retry(func() (int, error) { return unix.Pread(fd, magic[:], 0) })
	if err != nil {
		return &fs.PathError{Op: "read", Path: p.path, Err: err}
	}
	if string(magic[:n]) != elfMagic {
		return fmt.Errorf("%s: %w", p.path, ErrNotELF)
	}
	return nil
}

// checkDirectory checks the owner and the mode of a directory on the way to a program.
func checkDirectory(path string, st unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return hostfs.CheckOwner("directory "+path, st)
}
