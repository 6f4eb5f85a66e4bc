// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// message is one netlink message: the fields of its struct nlmsghdr, and the data after it.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

var errShort = errors.New("netlink message is shorter than its length field says")

// parseMessage returns the first message of a datagram and the rest.
func parseMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < sizeofHeader {
		return message{}, nil, errShort
	}
	n := binary.NativeEndian.Uint32(b)
	if n < sizeofHeader || uint64(n) > uint64(len(b)) {
		return message{}, nil, errShort
	}
	m = message{
		typ:   binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		data:  b[sizeofHeader:n],
	}
	return m, b[min(align4(int(n)), len(b)):], nil
}

// parseErrno returns the errno of NLMSG_ERROR or NLMSG_DONE, 0 for success and for NLMSG_DONE without data.
func parseErrno(m message) (unix.Errno, error) {
	if len(m.data) < 4 {
		if m.typ == unix.NLMSG_DONE && len(m.data) == 0 {
			return 0, nil
		}
		return 0, errShort
	}
	n := int32(binary.NativeEndian.Uint32(m.data))
	if n > 0 || n < -maxErrno {
		return 0, fmt.Errorf("read answer: %d is not an errno", n)
	}
	return unix.Errno(-n), nil
}

const maxErrno = 4095 // MAX_ERRNO of include/linux/err.h

// parseAttr returns the first attribute (struct nlattr) of b and the rest.
func parseAttr(b []byte) (typ uint16, data, rest []byte, err error) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, errAttr
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil, errAttr
	}
	// The two highest bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
	typ = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	return typ, b[unix.SizeofNlAttr:n], b[min(align4(n), len(b)):], nil
}

var errAttr = errors.New("attribute is shorter than its length field says")

func align4(n int) int { return (n + 3) &^ 3 }
