// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is the path of the root directory below which the node's paths resolve: "" and "/" are the process's own. Each method
// opens it again, and so follows a mount that appears there later.
type Dir string

// IsOwn reports whether the node's paths are the process's own.
func (d Dir) IsOwn() bool { return isOwn(string(d)) }

func isOwn(dir string) bool { return dir == "" || filepath.Clean(dir) == "/" }

// Check returns an error if no path of the node can be opened.
func (d Dir) Check() error {
	if d.IsOwn() {
		return nil
	}
	f, err := d.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open the node's root %s (needs openat2, Linux 5.6): %w", string(d), err)
	}
	return f.Close()
}

// Open opens the file at an absolute path of the node. A FIFO does not block it.
func (d Dir) Open(path string, flags int) (*os.File, error) {
	fd, err := d.open(path, flags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (d Dir) open(path string, flags int) (int, error) {
	if d.IsOwn() {
		return openOwn(path, flags)
	}
	root, err := openRoot(string(d))
	if err != nil {
		return -1, &fs.PathError{Op: "open host root", Path: string(d), Err: err}
	}
	defer unix.Close(root)
	return openBelow(root, path, flags)
}

// Stat is os.Stat of a path of the node.
func (d Dir) Stat(path string) (fs.FileInfo, error) {
	f, err := d.Open(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// Resolve returns this process's path of the file at a path of the node, without symbolic links.
func (d Dir) Resolve(path string) (string, error) {
	f, err := d.Open(path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// NodePath returns the node's path for a path of this process, and false for a path outside of the root.
func (d Dir) NodePath(path string) (string, bool) {
	if d.IsOwn() {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, filepath.Clean(string(d)))
	return rest, ok && strings.HasPrefix(rest, "/")
}

// MountID returns the ID of the mount of a path (proc_pid_fdinfo(5), Linux 3.15), 0 if it is unknown. The path alone does
// not determine the mount: a mount may hide another one.
func (d Dir) MountID(path string) int {
	f, err := d.Open(path, unix.O_PATH)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return 0
	}
	return mountID(string(text))
}

// mountID returns the mount ID in the text of /proc/PID/fdinfo/FD, 0 without one.
func mountID(fdinfo string) int {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			id, _ := strconv.Atoi(strings.TrimSpace(value)) // no mount has the ID 0
			return id
		}
	}
	return 0
}

// Root is an open root directory, or the process's own. Its methods may be called concurrently. Close does not wait for the
// others, which hang if a file system does not answer.
type Root struct {
	dir  string
	file *os.File // O_PATH; nil for the process's own root
}

// OpenRoot opens the root dir, or the process's own for "" and "/".
func OpenRoot(dir string) (*Root, error) {
	if isOwn(dir) {
		return &Root{}, nil
	}
	fd, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open host root: %w", &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	r := &Root{dir: dir, file: os.NewFile(uintptr(fd), dir)}
	probe, err := r.OpenPath("/")
	if err != nil {
		err = fmt.Errorf("resolve paths below host root %s with openat2, which needs Linux 5.6: %w", dir, err)
		return nil, errors.Join(err, r.Close())
	}
	_ = unix.Close(probe)
	return r, nil
}

// Dir returns the directory of OpenRoot, "" for the process's own root.
func (r *Root) Dir() string { return r.dir }

// OpenPath returns an O_PATH descriptor of the file at a path below the root. It has no effect on the file.
func (r *Root) OpenPath(path string) (fd int, err error) {
	if r.dir == "" {
		return openOwn(path, unix.O_PATH)
	}
	raw, err := r.file.SyscallConn()
	if err != nil {
		return -1, err
	}
	// The descriptor stays open while the function runs, also after Close.
	if closed := raw.Control(func(root uintptr) { fd, err = openBelow(int(root), path, unix.O_PATH) }); closed != nil {
		return -1, closed
	}
	return fd, err
}

// Has reports whether a path leads to a file that is not deleted: a mount can show a deleted directory.
func (r *Root) Has(path string) bool {
	fd, err := r.OpenPath(path)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && stat.Nlink > 0
}

// Close closes the root directory. Closing again does nothing. Afterwards the methods fail, except for the process's own
// root.
func (r *Root) Close() error {
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close host root %s: %w", r.dir, err)
	}
	return nil
}

// OpenPath is Root.OpenPath in the process's own root.
func OpenPath(path string) (fd int, err error) { return openOwn(path, unix.O_PATH) }

// Probe returns an error if this kernel cannot resolve paths below a root.
func Probe() error {
	fd, err := openBelow(unix.AT_FDCWD, "/", unix.O_PATH)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func openRoot(dir string) (int, error) {
	return Retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
}

func openOwn(path string, flags int) (int, error) {
	return Retry(func() (int, error) { return unix.Open(path, withDefaults(flags), 0) })
}

// withDefaults adds the flags of every open. openat2(2) refuses O_NONBLOCK with O_PATH.
func withDefaults(flags int) int {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK
	}
	return flags | unix.O_CLOEXEC
}

// resolveTries is how often openBelow resolves a path. A concurrent rename or mount anywhere on the system makes the
// kernel give up, because it cannot be sure that the path stays below the root.
const resolveTries = 128

// openBelow opens a path below the directory root. The kernel returns EAGAIN after a rename or a mount while it followed a
// "..", and EXDEV if the file was moved out of the root.
func openBelow(root int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(withDefaults(flags)), Resolve: unix.RESOLVE_IN_ROOT}
	for try := 1; ; try++ {
		fd, err := Retry(func() (int, error) { return unix.Openat2(root, path, &how) })
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EXDEV) || try == resolveTries {
			return fd, err
		}
	}
}
