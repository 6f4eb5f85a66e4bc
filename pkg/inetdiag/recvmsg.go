// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvArgs has the arguments of recvmsg(2) on the heap, so that a call allocates nothing.
type recvArgs struct {
	from unix.RawSockaddrNetlink
	iov  unix.Iovec
	msg  unix.Msghdr
}

// recvmsg is recvmsg(2) without the allocations of unix.Recvmsg.
func (a *recvArgs) recvmsg(fd int, b []byte) (int, unix.Errno) {
	a.from = unix.RawSockaddrNetlink{}
	a.iov.Base = unsafe.SliceData(b)
	a.iov.SetLen(len(b))
	a.msg = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&a.from)),
		Namelen: unix.SizeofSockaddrNetlink,
		Iov:     &a.iov,
	}
	a.msg.SetIovlen(1)
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&a.msg)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// mmsghdr is struct mmsghdr (include/linux/socket.h). Go pads it at its end as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// manyArgs has the arguments of recvmmsg(2): for each slot a message header, the sender's address and a buffer.
type manyArgs struct {
	msgs  [slotCount]mmsghdr
	froms [slotCount]unix.RawSockaddrNetlink
	iovs  [slotCount]unix.Iovec
}

// setSlot sets the buffer of message i.
func (a *manyArgs) setSlot(i int, b []byte) {
	a.iovs[i].Base = unsafe.SliceData(b)
	a.iovs[i].SetLen(len(b))
	a.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&a.froms[i]))
	a.msgs[i].hdr.Iov = &a.iovs[i]
	a.msgs[i].hdr.SetIovlen(1)
}

// recvmmsg receives up to n datagrams and returns their number, which is at least 1 without an errno.
func (a *manyArgs) recvmmsg(fd, n int) (int, unix.Errno) {
	for i := range a.msgs[:n] {
		a.froms[i] = unix.RawSockaddrNetlink{}
		a.msgs[i].hdr.Namelen = unix.SizeofSockaddrNetlink
	}
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG,
		uintptr(fd), uintptr(unsafe.Pointer(&a.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), 0
}
