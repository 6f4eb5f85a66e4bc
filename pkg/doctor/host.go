// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
)

// host is where paths of the host are found: below a directory, or as they are.
type host string

func (h host) isRoot() bool { return h == "" || filepath.Clean(string(h)) == "/" }

// real returns the path by which this process gets to what is at a path of the host, links followed as the
// host would (openat2(2), RESOLVE_IN_ROOT).
func (h host) real(path string) (string, error) {
	fd, err := h.open(path)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// mount returns the number that the mount table gives to the mount that a path is on (proc_pid_fdinfo(5),
// Linux 3.15); 0 if that cannot be told. The path alone does not say it: a mount may be hidden by another.
func (h host) mount(path string) int {
	fd, err := h.open(path)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			id, _ := strconv.Atoi(strings.TrimSpace(value)) // no mount has number 0
			return id
		}
	}
	return 0
}

// open returns an O_PATH descriptor, which has no effect on what is there.
func (h host) open(path string) (int, error) {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	if h.isRoot() {
		return again(func() (int, error) { return unix.Open(path, flags, 0) })
	}
	root, err := again(func() (int, error) { return unix.Open(string(h), flags|unix.O_DIRECTORY, 0) })
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT}
	return again(func() (int, error) { return unix.Openat2(root, path, &how) })
}

// again calls an open(2) again that a signal interrupted.
func again(open func() (int, error)) (int, error) {
	for {
		if fd, err := open(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// lookAtRoot tries whether the host's file system is where it is said to be, as the reaper does when it starts.
func lookAtRoot(dir string) error {
	root, err := netns.NewRoot(dir)
	if err != nil {
		return err
	}
	return root.Close()
}

// judgeRoot says something only where it is not: a reaper with the same --host-root does not start.
func judgeRoot(err error) []Finding {
	if err == nil {
		return nil
	}
	return []Finding{{
		Check: "host-root", Level: Fail, What: err.Error() + ": a reaper does not start with this --host-root",
		Do: "mount the host's root there, or set --host-root (HALFCLOSE_HOST_ROOT) to where it is; on the host itself leave it out",
	}}
}

// stat is os.Stat of a path of the host.
func (h host) stat(path string) (fs.FileInfo, error) {
	at, err := h.real(path)
	if err != nil {
		return nil, err
	}
	return os.Stat(at)
}

// names lists a directory of the host. The error is fs.ErrNotExist where there is none.
func (h host) names(dir string) ([]string, error) {
	at, err := h.real(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(at)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// maxConf is the largest network configuration that is read.
const maxConf = 2 << 20

// read reads a regular file of the host. Nothing else is opened: a FIFO would wait for its other end.
func (h host) read(path string) ([]byte, error) {
	at, err := h.real(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file (%s)", info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(data) > maxConf {
		err = fmt.Errorf("it has more than %d bytes", maxConf)
	}
	return data, err
}
