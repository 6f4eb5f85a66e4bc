// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Root is where paths are resolved: the process's own root directory, or the one that a container sees the
// host's file system under. Its methods may be called concurrently.
type Root struct {
	mu  sync.RWMutex
	fd  int // O_PATH; -1 for the process's own root
	dir string
}

// errRootClosed says that a Root was used after its Close.
var errRootClosed = errors.New("root is closed")

// NewRoot returns the root dir, or the process's own for "" and "/".
//
// Below another dir, paths resolve as chroot(2) in it would make them: an absolute symbolic link, or any
// number of "..", leads no further up than dir (openat2(2), RESOLVE_IN_ROOT, Linux 5.6). Paths under /proc
// are the exception: they are always looked up in the process's own /proc.
func NewRoot(dir string) (*Root, error) {
	if dir == "" || filepath.Clean(dir) == "/" {
		return &Root{fd: -1}, nil
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open host root: %w", &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	r := &Root{fd: fd, dir: dir}
	probe, err := r.resolve("/")
	if err != nil {
		err = fmt.Errorf("resolve paths below host root %s with openat2, which needs Linux 5.6: %w", dir, err)
		return nil, errors.Join(err, r.Close())
	}
	_ = unix.Close(probe)
	return r, nil
}

// Open opens the network namespace that an absolute path leads to below the root, as the function Open does.
func (r *Root) Open(path string) (*Handle, error) {
	if r.dir == "" {
		return Open(path)
	}
	if clean := filepath.Clean(path); strings.HasPrefix(clean+"/", "/proc/") {
		return Open(clean)
	}
	h, err := open(path, r.resolve)
	if err != nil {
		return nil, fmt.Errorf("below host root %s: %w", r.dir, err)
	}
	return h, nil
}

// SeesDirOf reports whether the directory is there that a path below the root is in. Where it is not, that nothing is
// at the path says little: in a container the directory may just not be mounted. Of /proc, the process's own is meant,
// and what is not there has ended.
func (r *Root) SeesDirOf(path string) bool {
	dir := filepath.Dir(filepath.Clean(path))
	if strings.HasPrefix(dir+"/", "/proc/") {
		return true
	}
	fd, err := r.resolveDir(dir)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && stat.Nlink > 0 // a mount outlives the directory that it shows
}

func (r *Root) resolveDir(dir string) (int, error) {
	if r.dir == "" {
		return openPath(unix.AT_FDCWD, dir)
	}
	return r.resolve(dir)
}

// resolveTries is how often a path with ".." in it is tried again after a rename or mount somewhere on the
// system kept the kernel from being sure that it stays below the root.
const resolveTries = 128

// resolve returns an O_PATH descriptor of what a path below the root leads to.
func (r *Root) resolve(path string) (int, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.fd < 0 {
		return -1, errRootClosed
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	for try := 1; ; try++ {
		fd, err := retry(func() (int, error) { return unix.Openat2(r.fd, path, &how) })
		if !errors.Is(err, unix.EAGAIN) || try == resolveTries {
			return fd, err
		}
	}
}

// Close lets go of the root directory. It may be called again; below a root other than the process's own,
// nothing can be opened afterwards.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil
	}
	fd := r.fd
	r.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close host root %s: %w", r.dir, err)
	}
	return nil
}
