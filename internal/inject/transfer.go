// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errCallerGone means that the caller was killed while its call waited for data.
var errCallerGone = errors.New("the caller was killed")

// transfer executes a read, write, send or receive for the caller, which transfers at most limit bytes. It returns the
// result of the call. An errno is the call's own.
func (c *Call) transfer(limit int, waits func() bool) (int64, error) {
	fd, err := c.duplicate(int(int32(c.Args[0]))) //nolint:gosec // the kernel takes these bits
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	switch c.Number {
	case unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG:
		if err := awaitInput(fd, waits); err != nil {
			return 0, err
		}
	}
	switch c.Number {
	case unix.SYS_READ:
		return c.receive(fd, limit, func(b []byte) (int, error) { return unix.Read(fd, b) })
	case unix.SYS_PREAD64:
		return c.receive(fd, limit, func(b []byte) (int, error) { return unix.Pread(fd, b, int64(c.Args[3])) }) //nolint:gosec // an offset
	case unix.SYS_RECVFROM:
		if c.Args[4] != 0 {
			return 0, errors.New("recvfrom with an address is not supported")
		}
		return c.receive(fd, limit, func(b []byte) (int, error) {
			n, _, err := unix.Recvfrom(fd, b, int(c.Args[3])) //nolint:gosec // flags
			return n, err
		})
	case unix.SYS_WRITE:
		return c.send(limit, func(b []byte) (int, error) { return unix.Write(fd, b) })
	case unix.SYS_PWRITE64:
		return c.send(limit, func(b []byte) (int, error) { return unix.Pwrite(fd, b, int64(c.Args[3])) }) //nolint:gosec // an offset
	case unix.SYS_SENDTO:
		if c.Args[4] != 0 {
			return 0, errors.New("sendto with an address is not supported")
		}
		return c.send(limit, func(b []byte) (int, error) { return unix.SendmsgN(fd, b, nil, nil, int(c.Args[3])) }) //nolint:gosec // flags
	case unix.SYS_RECVMSG:
		return c.receiveMessage(fd, limit, c.Args[1], int(c.Args[2])) //nolint:gosec // flags
	case unix.SYS_RECVMMSG: // one message is a legal result
		n, err := c.receiveMessage(fd, limit, c.Args[1], int(c.Args[3])&^unix.MSG_WAITFORONE) //nolint:gosec // flags
		if err != nil {
			return 0, err
		}
		return 1, c.write(c.Args[1]+uint64(unsafe.Sizeof(unix.Msghdr{})), binary.NativeEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // at most limit
	}
	return 0, fmt.Errorf("%s transfers nothing", name(c.Number))
}

// duplicate returns a descriptor of this process for one of the caller's.
func (c *Call) duplicate(fd int) (int, error) {
	process, err := unix.PidfdOpen(c.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", c.PID, err)
	}
	defer unix.Close(process)
	return unix.PidfdGetfd(process, fd, 0) // EBADF is what the caller gets
}

// awaitInput waits until a blocking descriptor has data.
func awaitInput(fd int, waits func() bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return err
	}
	for waits() {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(callerInterval.Milliseconds())) //nolint:gosec // a descriptor
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errCallerGone
}

// receive reads for the caller, into its buffer.
func (c *Call) receive(fd, limit int, read func([]byte) (int, error)) (int64, error) {
	size := int(c.Args[2]) //nolint:gosec // a length
	if !isDatagram(fd) {
		size = min(size, limit) // the rest stays
	}
	b := make([]byte, size)
	n, err := read(b)
	if err != nil {
		return 0, err
	}
	n = min(n, limit)
	return int64(n), c.write(c.Args[1], b[:n])
}

// send writes for the caller, from its buffer.
func (c *Call) send(limit int, write func([]byte) (int, error)) (int64, error) {
	b := make([]byte, min(int(c.Args[2]), limit)) //nolint:gosec // a length
	if err := c.read(c.Args[1], b); err != nil {
		return 0, err
	}
	n, err := write(b)
	return int64(n), err
}

// messageHeader is struct msghdr, and buffer struct iovec, of the caller. Their addresses are no pointers of this process.
type messageHeader struct {
	name          uint64
	nameLength    uint32
	_             uint32
	buffers       uint64
	bufferCount   uint64
	_             uint64 // control messages
	controlLength uint64
	flags         int32
	_             uint32
}

type buffer struct{ address, length uint64 }

// receiveMessage is recvmsg(2) for the caller, into its message header. It passes no control messages.
func (c *Call) receiveMessage(fd, limit int, at uint64, flags int) (int64, error) {
	var header messageHeader
	if err := c.read(at, rawBytes(&header)); err != nil {
		return 0, err
	}
	var buffers [16]buffer
	if header.bufferCount == 0 || header.bufferCount > uint64(len(buffers)) {
		return 0, fmt.Errorf("recvmsg with %d buffers is not supported", header.bufferCount)
	}
	count := int(header.bufferCount)
	if err := c.read(header.buffers, rawBytes(&buffers)[:count*int(unsafe.Sizeof(buffers[0]))]); err != nil {
		return 0, err
	}
	size := 0
	for _, b := range buffers[:count] {
		size += int(b.length) //nolint:gosec // a length
	}
	datagram := isDatagram(fd)
	if !datagram {
		size = min(size, limit) // the rest stays
	}
	data := make([]byte, max(size, 1))
	var from unix.RawSockaddrAny
	iov := iovec(data)
	own := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&from)), Namelen: uint32(unsafe.Sizeof(from)), Iov: &iov}
	own.SetIovlen(1)
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&own)), uintptr(flags|unix.MSG_CMSG_CLOEXEC))
	if errno != 0 {
		return 0, errno
	}
	got := min(int(n), limit)
	rest := data[:min(got, len(data))]
	for _, b := range buffers[:count] {
		part := rest[:min(len(rest), int(b.length))] //nolint:gosec // a length
		if err := c.write(b.address, part); err != nil {
			return 0, err
		}
		rest = rest[len(part):]
	}
	if header.name != 0 {
		if err := c.write(header.name, rawBytes(&from)[:min(header.nameLength, own.Namelen)]); err != nil {
			return 0, err
		}
		header.nameLength = own.Namelen
	}
	header.controlLength = 0
	if header.flags = own.Flags; datagram && int(n) > got {
		header.flags |= unix.MSG_TRUNC
	}
	return int64(got), c.write(at, rawBytes(&header))
}

// rawBytes returns the memory of a value.
func rawBytes[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// isDatagram reports whether a receive that is too short loses the rest.
func isDatagram(fd int) bool {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && typ != unix.SOCK_STREAM
}
