// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sizeofDiagMsg = 4 + sizeofSockID + 20 // struct inet_diag_msg

// parseSocket reads a struct inet_diag_msg and its attributes into s, and sets every field of s. It skips unknown
// attributes.
func parseSocket(b []byte, s *Socket) error {
	*s = Socket{}
	if len(b) < sizeofDiagMsg {
		return fmt.Errorf("read socket: %d bytes, want %d", len(b), sizeofDiagMsg)
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return fmt.Errorf("read socket: family %d is neither AF_INET nor AF_INET6", b[0])
	}
	s.ID.family = b[0]
	copy(s.ID.sockid[:], b[4:])
	s.State, s.Timer, s.Retrans = State(b[1]), b[2], b[3]
	tail := b[4+sizeofSockID : sizeofDiagMsg]
	s.Expires = time.Duration(binary.NativeEndian.Uint32(tail)) * time.Millisecond
	s.RQueue = binary.NativeEndian.Uint32(tail[4:])
	s.WQueue = binary.NativeEndian.Uint32(tail[8:])
	s.UID = binary.NativeEndian.Uint32(tail[12:])
	s.Inode = binary.NativeEndian.Uint32(tail[16:])

	for b = b[sizeofDiagMsg:]; len(b) > 0; {
		typ, data, rest, err := parseAttr(b)
		if err != nil {
			return fmt.Errorf("read socket: %w", err)
		}
		b = rest
		switch typ {
		case attrInfo:
			if len(data) > 0 {
				s.HasInfo = true
				parseTCPInfo(data, &s.Info)
			}
		case attrClassID:
			if len(data) >= 4 {
				s.ClassID = binary.NativeEndian.Uint32(data)
			}
		case attrULP:
			if s.ULP, err = parseULP(data); err != nil {
				return fmt.Errorf("read socket's ULP: %w", err)
			}
		}
	}
	return nil
}

// parseULP reads the name from the nested attributes of INET_DIAG_ULP_INFO.
func parseULP(b []byte) (string, error) {
	for len(b) > 0 {
		typ, data, rest, err := parseAttr(b)
		if err != nil {
			return "", err
		}
		if typ == attrULPName {
			if i := bytes.IndexByte(data, 0); i >= 0 {
				data = data[:i]
			}
			return ULPName(data), nil
		}
		b = rest
	}
	return "", nil
}

// ULPName returns the name of an upper-layer protocol as a string, without an allocation for the usual ones.
func ULPName(name []byte) string {
	switch string(name) {
	case "":
		return ""
	case "mptcp":
		return "mptcp"
	case "tls":
		return "tls"
	}
	return string(name)
}

// parseTCPInfo reads a struct tcp_info. The struct has only ever grown at its end: a shorter one is of an older kernel and
// lacks the later fields, and a longer one has fields that are not read.
func parseTCPInfo(b []byte, i *TCPInfo) {
	var k unix.TCPInfo
	copy((*[unsafe.Sizeof(k)]byte)(unsafe.Pointer(&k))[:], b)
	*i = TCPInfo{
		State:        State(k.State),
		Probes:       k.Probes,
		LastDataRecv: time.Duration(k.Last_data_recv) * time.Millisecond,
		LastAckRecv:  time.Duration(k.Last_ack_recv) * time.Millisecond,
		BytesAcked:   k.Bytes_acked, BytesReceived: k.Bytes_received,
		SegsOut: k.Segs_out, SegsIn: k.Segs_in,
	}
}
