// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openForPut opens the directory of the records, as makeDirs does, and returns a descriptor for the calls at(2). On a node
// that has it already that takes three calls.
func (s *Store) openForPut() (int, error) {
	if fd, ok := s.openMade(); ok {
		return fd, nil
	}
	root, err := s.makeDirs()
	if err != nil {
		return -1, err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return -1, err
	}
	defer dir.Close()
	return unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// openMade opens the directory of the records if it is as makeDirs leaves it. Whatever else there is, is makeDirs' to make
// or to report.
func (s *Store) openMade() (fd int, ok bool) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	parent, err := unix.Open(s.dir, flags, 0)
	if err != nil {
		return -1, false
	}
	defer unix.Close(parent)
	fd, err = unix.Openat(parent, attachmentsDir, flags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&0o7777 != dirPerm {
		_ = unix.Close(fd)
		return -1, false
	}
	return fd, true
}

// replaceIn writes a file of mode 0600 in a directory, in place of an older one, in one step. It does not wait for the
// disk: see docs/decisions/2026-11-29-records-without-fsync.md.
//
// It makes the system calls itself. The files of package os set up the runtime's poller, which each ADD would pay for.
func replaceIn(dir int, name string, data []byte) error {
	const tries = 10
	for try := 1; ; try++ {
		tmp := "." + name + strconv.FormatInt(rand.Int64(), 10)
		fd, err := unix.Openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, filePerm)
		if (errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINTR)) && try < tries {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "create", Path: tmp, Err: err}
		}
		err = fill(fd, data)
		if err == nil {
			if err = unix.Renameat(dir, tmp, dir, name); err == nil {
				return nil
			}
			err = &os.LinkError{Op: "rename", Old: tmp, New: name, Err: err}
		}
		_ = unix.Unlinkat(dir, tmp, 0) // else Prune removes it
		return err
	}
}

// fill writes a new file and closes it. The umask may have taken some of its mode.
func fill(fd int, data []byte) (err error) {
	defer func() {
		if closed := unix.Close(fd); err == nil && closed != nil {
			err = os.NewSyscallError("close", closed)
		}
	}()
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
		data = data[max(n, 0):]
	}
	return os.NewSyscallError("chmod", unix.Fchmod(fd, filePerm))
}
