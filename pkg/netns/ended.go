// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrUnproven means that it cannot be found out whether a network namespace has ended.
var ErrUnproven = errors.New("cannot find out whether the network namespace has ended")

// Ended reports whether a network namespace of this boot has ended: not only its path, but the namespace. It is false with
// ErrUnproven where that cannot be found out.
//
// From Linux 6.18 the kernel reports it (open_by_handle_at(2) of an nsfs handle). Before, a namespace counts as ended if no
// process is in it; the caller knows of the paths that may lead to it.
func Ended(id Identity) (bool, error) {
	if id.Cookie != 0 {
		if ended, ok := endedByHandle(id); ok {
			return ended, nil
		}
	}
	return endedByProcesses(id, "/proc")
}

// fdNsfsRoot stands for the root of nsfs in place of a descriptor (FD_NSFS_ROOT of <linux/fcntl.h>), and handleNsfs is the
// type of its handles (FILEID_NSFS of the kernel).
const (
	fdNsfsRoot = -10003
	handleNsfs = 0xf1
)

// endedByHandle opens a namespace by its cookie and inode number, and its own for comparison: the kernel takes the cookie
// for the identifier of a namespace only where the two are equal.
func endedByHandle(id Identity) (ended, ok bool) {
	own, err := Own()
	if err != nil {
		return false, false
	}
	defer own.Close()
	known, err := own.Identify()
	if err != nil || openByHandle(known) != nil {
		return false, false
	}
	switch err := openByHandle(id); {
	case err == nil:
		return false, true
	case errors.Is(err, unix.ESTALE):
		return true, true
	}
	return false, false
}

func openByHandle(id Identity) error {
	handle := make([]byte, 0, 16) // struct nsfs_file_handle of <linux/nsfs.h>
	handle = binary.NativeEndian.AppendUint64(handle, id.Cookie)
	handle = binary.NativeEndian.AppendUint32(handle, unix.CLONE_NEWNET)
	handle = binary.NativeEndian.AppendUint32(handle, uint32(id.Inode))
	fd, err := unix.OpenByHandleAt(fdNsfsRoot, unix.NewFileHandle(handleNsfs, handle), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// firstPIDNamespace is the inode number of the initial pid namespace (PROC_PID_INIT_INO of <linux/proc_ns.h>), in which
// every process of the machine is seen.
const firstPIDNamespace = 0xEFFFFFFC

// endedByProcesses looks for a process in a namespace.
func endedByProcesses(id Identity, proc string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil || st.Ino != firstPIDNamespace {
		return false, fmt.Errorf("%w: not all processes are seen from here", ErrUnproven)
	}
	dir, err := os.Open(proc)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		err := unix.Stat(filepath.Join(proc, name, "ns/net"), &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH): // the process has exited
		case err != nil:
			return false, fmt.Errorf("%w: process %s: %w (needs CAP_SYS_PTRACE)", ErrUnproven, name, err)
		case st.Ino == id.Inode:
			return false, nil
		}
	}
	return true, nil
}
