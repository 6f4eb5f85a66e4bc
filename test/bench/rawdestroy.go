// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// destroyBatch is the number of look-ups, and then destroys, that are sent at once: the same as the reaper's.
const destroyBatch = 8

// rawRequests has the netlink requests for a batch, built before the measurement.
type rawRequests struct {
	looks, destroys []byte
	n               int
}

// prepare builds the requests for sockets.
func prepare(ids []inetdiag.ID) []rawRequests {
	var all []rawRequests
	for start := 0; start < len(ids); start += destroyBatch {
		var r rawRequests
		for _, id := range ids[start:min(start+destroyBatch, len(ids))] {
			r.looks = appendRequest(r.looks, sockDiagByFamily, 0, id)
			r.destroys = appendRequest(r.destroys, unix.SOCK_DESTROY, unix.NLM_F_ACK, id)
			r.n++
		}
		all = append(all, r)
	}
	return all
}

// Of include/uapi/linux/sock_diag.h and inet_diag.h.
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	attrInfo         = 2  // INET_DIAG_INFO
)

// appendRequest appends a struct nlmsghdr and a struct inet_diag_req_v2 that asks for tcp_info.
func appendRequest(b []byte, typ, flags uint16, id inetdiag.ID) []byte {
	const size = unix.SizeofNlMsghdr + 8 + inetdiag.SizeofID - 1
	e := binary.NativeEndian
	b = e.AppendUint32(b, size)
	b = e.AppendUint16(b, typ)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = e.AppendUint64(b, 0)                                         // sequence and port
	b = append(b, id.Family(), unix.IPPROTO_TCP, 1<<(attrInfo-1), 0) // then the states: all
	b = e.AppendUint32(b, uint32(inetdiag.AllStates))
	whole, _ := id.AppendBinary(nil) // never fails
	return append(b, whole[1:]...)   // without the family
}

// rawDestroy sends the requests through a socket, and checks only that the answers are of the expected type: the least that
// a program can do.
func rawDestroy(fd int, requests []rawRequests) error {
	in := make([]byte, 8192)
	for i := range requests {
		r := &requests[i]
		if err := exchange(fd, r.looks, r.n, in, sockDiagByFamily); err != nil {
			return fmt.Errorf("look up sockets: %w", err)
		}
		if err := exchange(fd, r.destroys, r.n, in, unix.NLMSG_ERROR); err != nil {
			return fmt.Errorf("destroy sockets: %w", err)
		}
	}
	return nil
}

// exchange sends n requests and reads n answers, which must be of one type and no errors.
func exchange(fd int, out []byte, n int, in []byte, typ uint16) error {
	if _, err := unix.Write(fd, out); err != nil {
		return err
	}
	for range n {
		size, err := unix.Read(fd, in)
		if err != nil {
			return err
		}
		if size < unix.SizeofNlMsghdr+4 {
			return errors.New("answer is too short")
		}
		got := binary.NativeEndian.Uint16(in[4:])
		if errno := int32(binary.NativeEndian.Uint32(in[unix.SizeofNlMsghdr:])); got == unix.NLMSG_ERROR && errno != 0 {
			return unix.Errno(-errno)
		}
		if got != typ {
			return fmt.Errorf("answer of type %d", got)
		}
	}
	return nil
}

// openRaw opens a sock_diag socket in the thread's namespace, with the options of package inetdiag.
func openRaw() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
