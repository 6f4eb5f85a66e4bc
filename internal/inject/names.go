// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// FileCalls lists the system calls by which Go programs read and change files.
func FileCalls() []uintptr {
	return []uintptr{
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_GETDENTS64, unix.SYS_READLINKAT, unix.SYS_FLOCK,
		unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
		unix.SYS_UTIMENSAT, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
		unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT,
	}
}

// name returns the name of a system call, or its number.
func name(nr uintptr) string {
	switch nr {
	case unix.SYS_OPENAT:
		return "openat"
	case unix.SYS_OPENAT2:
		return "openat2"
	case unix.SYS_READ:
		return "read"
	case unix.SYS_PREAD64:
		return "pread64"
	case unix.SYS_GETDENTS64:
		return "getdents64"
	case unix.SYS_READLINKAT:
		return "readlinkat"
	case unix.SYS_FLOCK:
		return "flock"
	case unix.SYS_WRITE:
		return "write"
	case unix.SYS_PWRITE64:
		return "pwrite64"
	case unix.SYS_FTRUNCATE:
		return "ftruncate"
	case unix.SYS_FCHMOD:
		return "fchmod"
	case unix.SYS_FCHMODAT:
		return "fchmodat"
	case unix.SYS_FCHOWN:
		return "fchown"
	case unix.SYS_FCHOWNAT:
		return "fchownat"
	case unix.SYS_UTIMENSAT:
		return "utimensat"
	case unix.SYS_FSYNC:
		return "fsync"
	case unix.SYS_FDATASYNC:
		return "fdatasync"
	case unix.SYS_RENAMEAT:
		return "renameat"
	case unix.SYS_RENAMEAT2:
		return "renameat2"
	case unix.SYS_LINKAT:
		return "linkat"
	case unix.SYS_SYMLINKAT:
		return "symlinkat"
	case unix.SYS_UNLINKAT:
		return "unlinkat"
	case unix.SYS_MKDIRAT:
		return "mkdirat"
	case unix.SYS_MKNODAT:
		return "mknodat"
	case unix.SYS_SOCKET:
		return "socket"
	case unix.SYS_SENDTO:
		return "sendto"
	case unix.SYS_SENDMSG:
		return "sendmsg"
	case unix.SYS_RECVFROM:
		return "recvfrom"
	case unix.SYS_RECVMSG:
		return "recvmsg"
	case unix.SYS_SETNS:
		return "setns"
	case unix.SYS_SETSOCKOPT:
		return "setsockopt"
	case unix.SYS_GETSOCKOPT:
		return "getsockopt"
	case unix.SYS_PIDFD_OPEN:
		return "pidfd_open"
	case unix.SYS_PIDFD_GETFD:
		return "pidfd_getfd"
	case unix.SYS_BPF:
		return "bpf"
	case unix.SYS_CLONE:
		return "clone"
	case unix.SYS_CLONE3:
		return "clone3"
	case unix.SYS_EXECVE:
		return "execve"
	}
	return "system call " + strconv.FormatUint(uint64(nr), 10)
}
