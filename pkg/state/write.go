// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// openForPut opens the directory of the records as makeDirs does, and returns a descriptor for openat(2) and the like. If the
// directory exists that takes five system calls.
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

// openMade opens the directory of the records if it is as makeDirs leaves it. In any other case makeDirs creates it or
// returns the error.
func (s *Store) openMade() (fd int, ok bool) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	parent, err := openat(unix.AT_FDCWD, s.dir, flags)
	if err != nil {
		return -1, false
	}
	defer unix.Close(parent)
	if checkFD(parent, s.dir) != nil {
		return -1, false
	}
	fd, err = openat(parent, attachmentsDir, flags|unix.O_NOFOLLOW)
	if err != nil {
		return -1, false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&0o7777 != dirPerm || checkOwner(s.AttachmentsDir(), st) != nil {
		_ = unix.Close(fd)
		return -1, false
	}
	return fd, true
}

// openat opens a file, or creates it with mode 0600.
func openat(dir int, name string, flags int) (fd int, err error) {
	return hostfs.Retry(func() (int, error) { return unix.Openat(dir, name, flags, filePerm) })
}

// durability is what a written file survives.
type durability bool

const (
	// untilReboot needs no fsync(2): the page cache survives the process, and no record survives a reboot. See
	// docs/decisions/2026-11-29-records-without-fsync.md.
	untilReboot durability = false
	// acrossReboots calls fsync twice: for the file, and for the directory with its name.
	acrossReboots durability = true
)

// replaceIn writes a file of mode 0600 in a directory and replaces an older one atomically. For acrossReboots the directory must
// not be open as O_PATH.
//
// It makes the system calls itself: an os.File would set up the runtime's poller in each ADD.
func replaceIn(dir int, name string, data []byte, lasts durability) error {
	const tries = 10
	for try := 1; ; try++ {
		tmp := temporaryName(rand.Int64())
		fd, err := openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if errors.Is(err, unix.EEXIST) && try < tries {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "create", Path: tmp, Err: err}
		}
		err = fill(fd, data, lasts)
		if err == nil {
			if err = unix.Renameat(dir, tmp, dir, name); err == nil {
				break
			}
			err = &os.LinkError{Op: "rename", Old: tmp, New: name, Err: err}
		}
		_ = unix.Unlinkat(dir, tmp, 0) // else Prune removes it
		return err
	}
	if lasts == acrossReboots {
		return fsync(dir)
	}
	return nil
}

// fill writes a new file, sets its mode regardless of the umask, and closes it.
func fill(fd int, data []byte, lasts durability) (err error) {
	defer func() {
		// Linux has closed the descriptor even if it returns EINTR (close(2)).
		if closed := unix.Close(fd); err == nil && closed != nil && !errors.Is(closed, unix.EINTR) {
			err = os.NewSyscallError("close", closed)
		}
	}()
	for len(data) > 0 {
		n, err := hostfs.Retry(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		data = data[n:]
	}
	if err := unix.Fchmod(fd, filePerm); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	if lasts == acrossReboots {
		return fsync(fd)
	}
	return nil
}

func fsync(fd int) error {
	return os.NewSyscallError("fsync", hostfs.RetryErr(func() error { return unix.Fsync(fd) }))
}

// temporaryPrefix is the prefix of a file's name before its rename. No record's name has it.
const temporaryPrefix = ".new-"

func temporaryName(n int64) string { return temporaryPrefix + strconv.FormatInt(n, 10) }

// isTemporary reports whether a name belongs to a temporary file, which has not been renamed yet.
func isTemporary(name string) bool {
	number, ok := strings.CutPrefix(name, temporaryPrefix)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// namesWithPrefix returns the names in a directory that have a prefix, unsorted. dir may be open as O_PATH.
//
// It makes the system calls itself, as replaceIn does, and allocates nothing for the other names: each ADD reads the names of
// all attachments of the node.
func namesWithPrefix(dir int, prefix string) ([]string, error) {
	fd, err := openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: attachmentsDir, Err: err}
	}
	defer unix.Close(fd)
	var names []string
	var buf [8 << 10]byte
	for {
		n, err := hostfs.Retry(func() (int, error) { return unix.ReadDirent(fd, buf[:]) })
		if err != nil {
			return nil, os.NewSyscallError("getdents64", err)
		}
		if n <= 0 {
			return names, nil
		}
		for entries := buf[:n]; len(entries) > direntName; {
			length := int(binary.NativeEndian.Uint16(entries[direntLength:]))
			if length <= direntName || length > len(entries) {
				break // an invalid entry, which no kernel returns
			}
			name := entries[direntName:length]
			if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
				name, _, _ = bytes.Cut(name, []byte{0})
				names = append(names, string(name))
			}
			entries = entries[length:]
		}
	}
}

// The offsets of the length and the name in struct linux_dirent64 (getdents(2)).
const (
	direntLength = 16
	direntName   = 19
)
