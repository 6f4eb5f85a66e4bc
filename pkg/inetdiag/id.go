// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// SizeofID is the length of an ID as bytes: the family and the kernel's struct inet_diag_sockid.
const SizeofID = 1 + sizeofSockID

const sizeofSockID = 48

// The address families of Linux, AF_INET and AF_INET6, on any platform.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)

// Offsets in struct inet_diag_sockid (include/uapi/linux/inet_diag.h).
const (
	offSport  = 0
	offDport  = 2
	offSrc    = 4
	offDst    = 20
	offIf     = 36
	offCookie = 40
)

// noCookie is INET_DIAG_NOCOOKIE in both halves. To the kernel it means any socket with these addresses.
const noCookie = ^uint64(0)

// ID names one socket to the kernel: it has the address family and the kernel's struct inet_diag_sockid, byte for byte. The
// kernel compares the ports, addresses, bound interface and cookie in it. It is comparable and can be a map's key.
//
// The addresses of one cookie may change: after connect(AF_UNSPEC) and another connect() the same socket has a new
// connection.
type ID struct {
	family uint8
	sockid [sizeofSockID]byte
}

// NewID returns the ID with these parts. A v4-mapped address needs the family AF_INET6, a plain IPv4 address AF_INET. The
// interface index is that of SO_BINDTODEVICE, or 0. For an IPv6 address with AF_INET the ID is zero.
func NewID(family uint8, local, peer netip.AddrPort, ifindex uint32, cookie uint64) ID {
	if family == familyIPv4 && (isIPv6(local.Addr()) || isIPv6(peer.Addr())) {
		return ID{}
	}
	id := ID{family: family}
	binary.BigEndian.PutUint16(id.sockid[offSport:], local.Port())
	binary.BigEndian.PutUint16(id.sockid[offDport:], peer.Port())
	putAddr(id.sockid[offSrc:offDst], family, local.Addr())
	putAddr(id.sockid[offDst:offIf], family, peer.Addr())
	binary.NativeEndian.PutUint32(id.sockid[offIf:], ifindex)
	binary.NativeEndian.PutUint32(id.sockid[offCookie:], uint32(cookie))
	binary.NativeEndian.PutUint32(id.sockid[offCookie+4:], uint32(cookie>>32))
	return id
}

func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

func putAddr(b []byte, family uint8, a netip.Addr) {
	switch {
	case !a.IsValid():
	case family == familyIPv4:
		v4 := a.Unmap().As4()
		copy(b, v4[:])
	default:
		v6 := a.As16()
		copy(b, v6[:])
	}
}

// Family returns AF_INET or AF_INET6. A v4-mapped socket is AF_INET6.
func (id ID) Family() uint8 { return id.family }

// Local returns the local address and port, a v4-mapped address as IPv4.
func (id ID) Local() netip.AddrPort { return id.addrPort(offSrc, offSport) }

// Peer returns the peer's address and port, a v4-mapped address as IPv4.
func (id ID) Peer() netip.AddrPort { return id.addrPort(offDst, offDport) }

// Mapped reports whether the socket is v4-mapped: AF_INET6 with IPv4 addresses.
func (id ID) Mapped() bool {
	return id.family == familyIPv6 && netip.AddrFrom16([16]byte(id.sockid[offSrc:offDst])).Is4In6()
}

// Interface returns the index of the interface that the socket is bound to, or 0.
func (id ID) Interface() uint32 { return binary.NativeEndian.Uint32(id.sockid[offIf:]) }

// Cookie returns the socket's cookie, which is unique in its network namespace since the machine booted.
func (id ID) Cookie() uint64 {
	return uint64(binary.NativeEndian.Uint32(id.sockid[offCookie:])) |
		uint64(binary.NativeEndian.Uint32(id.sockid[offCookie+4:]))<<32
}

// String returns the family, addresses, ports, interface if any, and cookie.
func (id ID) String() string {
	if id.family == 0 {
		return "no socket"
	}
	family := "ipv4"
	switch {
	case id.Mapped():
		family = "v4-mapped"
	case id.family == familyIPv6:
		family = "ipv6"
	}
	dev := ""
	if i := id.Interface(); i != 0 {
		dev = fmt.Sprintf(" interface %d", i)
	}
	return fmt.Sprintf("%s %v -> %v%s cookie %#x", family, id.Local(), id.Peer(), dev, id.Cookie())
}

// namesOne reports whether the ID names one TCP socket, and not any socket with its addresses.
func (id *ID) namesOne() bool {
	cookie := id.Cookie()
	return (id.family == familyIPv4 || id.family == familyIPv6) && cookie != 0 && cookie != noCookie
}

// sameSocket reports whether both IDs have the same family, addresses, ports and cookie. It ignores the interface: the
// kernel has compared it, and an unbound socket matches any interface.
func (id *ID) sameSocket(other *ID) bool {
	return id.family == other.family &&
		[offIf]byte(id.sockid[:offIf]) == [offIf]byte(other.sockid[:offIf]) &&
		[sizeofSockID - offCookie]byte(id.sockid[offCookie:]) == [sizeofSockID - offCookie]byte(other.sockid[offCookie:])
}

func (id ID) addrPort(addr, port int) netip.AddrPort {
	var a netip.Addr
	if id.family == familyIPv4 {
		a = netip.AddrFrom4([4]byte(id.sockid[addr:]))
	} else {
		a = netip.AddrFrom16([16]byte(id.sockid[addr:])).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(id.sockid[port:]))
}

// AppendBinary appends the SizeofID bytes of id to b. It returns no error. The bytes are valid on this machine until it
// reboots.
func (id ID) AppendBinary(b []byte) ([]byte, error) {
	return append(append(b, id.family), id.sockid[:]...), nil
}

// UnmarshalBinary takes what AppendBinary wrote.
func (id *ID) UnmarshalBinary(b []byte) error {
	if len(b) != SizeofID {
		return errors.New("socket id: wrong length")
	}
	if b[0] != familyIPv4 && b[0] != familyIPv6 {
		return errors.New("socket id: family is neither AF_INET nor AF_INET6")
	}
	id.family = b[0]
	copy(id.sockid[:], b[1:])
	return nil
}
