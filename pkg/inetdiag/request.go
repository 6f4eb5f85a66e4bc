// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Message types of include/uapi/linux/sock_diag.h and inet_diag.h.
const (
	typeLegacy   = 18 // TCPDIAG_GETSOCK
	typeByFamily = 20 // SOCK_DIAG_BY_FAMILY
	typeDestroy  = unix.SOCK_DESTROY
)

// Attributes of an answer (include/uapi/linux/inet_diag.h).
const (
	attrInfo    = 2  // INET_DIAG_INFO
	attrTClass  = 6  // INET_DIAG_TCLASS
	attrClassID = 17 // INET_DIAG_CLASS_ID
	attrULP     = 19 // INET_DIAG_ULP_INFO

	attrULPName = 1 // INET_ULP_INFO_NAME, inside attrULP
)

// The bits of idiag_ext. It has 8 bits and none for INET_DIAG_CLASS_ID, which the kernel sends with INET_DIAG_TCLASS.
const (
	extInfo    = 1 << (attrInfo - 1)
	extClassID = 1 << (attrTClass - 1)
)

const (
	sizeofHeader    = unix.SizeofNlMsghdr
	sizeofLegacyReq = 4 + sizeofSockID + 8 // struct inet_diag_req
	sizeofReqV2     = 8 + sizeofSockID     // struct inet_diag_req_v2
)

// appendHeader appends a struct nlmsghdr for a message with a payload of size bytes.
func appendHeader(b []byte, typ, flags uint16, seq uint32, size int) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(sizeofHeader+size))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	return binary.NativeEndian.AppendUint32(b, 0) // the kernel fills in the port
}

// appendLegacyDump appends a request for the sockets of both families in one walk. The kernel ignores the family of this
// request (inet_diag_dump_compat of net/ipv4/inet_diag.c).
func appendLegacyDump(b []byte, seq uint32, states States, ext uint8) []byte {
	b = appendHeader(b, typeLegacy, unix.NLM_F_DUMP, seq, sizeofLegacyReq)
	b = append(b, unix.AF_UNSPEC, 0, 0, ext)
	b = append(b, make([]byte, sizeofSockID)...)
	b = binary.NativeEndian.AppendUint32(b, uint32(states))
	return binary.NativeEndian.AppendUint32(b, 0)
}

// appendDump appends a request for the sockets of one family.
func appendDump(b []byte, seq uint32, family uint8, states States, ext uint8) []byte {
	return appendReqV2(b, typeByFamily, unix.NLM_F_DUMP, seq, states, ext, &ID{family: family})
}

// appendLookup appends a request for one socket. The answer is the socket or an error.
func appendLookup(b []byte, seq uint32, id *ID) []byte {
	return appendReqV2(b, typeByFamily, 0, seq, AllStates, extInfo|extClassID, id)
}

// appendListenerLookup appends a request for the listener of a connection. No connection has the peer port 0, so the
// kernel's lookup (inet_diag_find_one_icsk of net/ipv4/inet_diag.c) continues with the listeners.
func appendListenerLookup(b []byte, seq uint32, id *ID) []byte {
	listener := *id
	binary.BigEndian.PutUint16(listener.sockid[offDport:], 0)
	binary.NativeEndian.PutUint64(listener.sockid[offCookie:], noCookie)
	return appendReqV2(b, typeByFamily, 0, seq, AllStates, 0, &listener)
}

// appendDestroy appends a request to destroy one socket. The answer is an ACK or an error.
func appendDestroy(b []byte, seq uint32, id *ID) []byte {
	return appendReqV2(b, typeDestroy, unix.NLM_F_ACK, seq, AllStates, 0, id)
}

func appendReqV2(b []byte, typ, flags uint16, seq uint32, states States, ext uint8, id *ID) []byte {
	b = appendHeader(b, typ, flags, seq, sizeofReqV2)
	b = append(b, id.family, unix.IPPROTO_TCP, ext, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(states))
	return append(b, id.sockid[:]...)
}
