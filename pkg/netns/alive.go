// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrLivenessUnknown means that this kernel or this process's privileges do not show whether a network namespace exists.
var ErrLivenessUnknown = errors.New("unknown whether a network namespace exists")

// Liveness finds out whether network namespaces still exist. Its methods may be called concurrently.
type Liveness struct{ unsupported error }

// NewLiveness returns a Liveness. It needs Linux 6.18, and CAP_SYS_ADMIN in the initial user namespace; without these each
// answer is ErrLivenessUnknown.
//
// The kernel returns ESTALE both for a namespace that does not exist and for one that the caller must not open. So
// NewLiveness creates a network namespace and opens it, which takes some milliseconds.
func NewLiveness() *Liveness {
	if err := tryHandles(); err != nil {
		return &Liveness{fmt.Errorf("%w: %w (needs Linux 6.18, and CAP_SYS_ADMIN in the initial user namespace)", ErrLivenessUnknown, err)}
	}
	return &Liveness{}
}

// Alive reports whether a network namespace still exists, kept by a process, a mount, a descriptor or a socket. It opens
// the namespace by a file handle, so it needs no path. Any error is ErrLivenessUnknown.
func (l *Liveness) Alive(id Identity) (bool, error) {
	if l.unsupported != nil {
		return false, l.unsupported
	}
	if id.Cookie == 0 || id.Inode == 0 {
		return false, fmt.Errorf("%w: %v has no cookie", ErrLivenessUnknown, id)
	}
	fd, err := openHandle(id)
	switch {
	case err == nil:
		_ = unix.Close(fd)
		return true, nil
	case errors.Is(err, unix.ESTALE):
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", ErrLivenessUnknown, err)
}

// tryHandles creates a network namespace and opens it by its handle.
func tryHandles() error {
	if hostfs.NamespaceInode("/proc/thread-self/ns/user") != hostfs.InitialUserNS {
		return errors.New("not in the initial user namespace")
	}
	var (
		other *Handle
		err   error
	)
	thread.Discard(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			other, err = Open(threadPath)
		}
	})
	if err != nil {
		return fmt.Errorf("create a network namespace: %w", err)
	}
	defer other.Close()
	id, err := other.Identify()
	if err != nil {
		return err
	}
	fd, err := openHandle(id)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// fileidNsfs is FILEID_NSFS of the kernel.
const fileidNsfs = 0xf1

// openHandle opens a network namespace by its struct nsfs_file_handle (include/uapi/linux/nsfs.h). Its id is the cookie.
func openHandle(id Identity) (fd int, err error) {
	handle := binary.NativeEndian.AppendUint64(nil, id.Cookie)
	handle = binary.NativeEndian.AppendUint32(handle, unix.CLONE_NEWNET)
	handle = binary.NativeEndian.AppendUint32(handle, uint32(id.Inode))
	fd, err = unix.OpenByHandleAt(unix.FD_NSFS_ROOT, unix.NewFileHandle(fileidNsfs, handle), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %v by its handle: %w", id, err)
	}
	return fd, nil
}
