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
)

// host is where the node's paths are looked up: below the directory of that name, or in the process's own root
// directory for "" and "/".
type host string

// own reports whether the node's paths are the process's own.
func (h host) own() bool { return h == "" || filepath.Clean(string(h)) == "/" }

// open opens what an absolute path of the node leads to. Below another root it resolves as chroot(2) there would
// make it: an absolute symbolic link, or any number of "..", leads no further up (openat2(2), RESOLVE_IN_ROOT,
// Linux 5.6). A FIFO does not make it wait.
func (h host) open(path string, flags int) (*os.File, error) {
	if flags |= unix.O_CLOEXEC; flags&unix.O_PATH == 0 { // else openat2(2) takes no other
		flags |= unix.O_NONBLOCK
	}
	call := h.openBelow
	if h.own() {
		call = func(path string, flags int) (int, error) {
			return retry(func() (int, error) { return unix.Open(path, flags, 0) })
		}
	}
	fd, err := call(path, flags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// check says why nothing of the node can be reached at all.
func (h host) check() error {
	if h.own() {
		return nil
	}
	f, err := h.open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("reach the node's files below %s (with openat2, which needs Linux 5.6): %w", string(h), err)
	}
	return f.Close()
}

// openTries is how often a path with ".." in it is tried again after a rename or mount somewhere on the system
// kept the kernel from being sure that it stays below the root.
const openTries = 128

func (h host) openBelow(path string, flags int) (int, error) {
	root, err := retry(func() (int, error) {
		return unix.Open(string(h), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open host root", Path: string(h), Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT}
	for try := 1; ; try++ {
		fd, err := retry(func() (int, error) { return unix.Openat2(root, path, &how) })
		if !errors.Is(err, unix.EAGAIN) || try == openTries {
			return fd, err
		}
	}
}

// retry calls again what a signal interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
