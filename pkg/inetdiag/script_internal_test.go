// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// script is a transport that calls a function of the test with each request, for the datagrams of the answer.
type script struct {
	answer func(m message) [][]byte
	queue  [][]byte
	sent   []message
	most   int   // most datagrams per receive, or 0 for no limit
	asked  []int // the limit of the caller, for each receive
}

func (s *script) send(b []byte) error {
	for len(b) > 0 {
		m, rest, err := parseMessage(b)
		if err != nil {
			return err
		}
		m.data = append([]byte(nil), m.data...)
		s.sent = append(s.sent, m)
		s.queue = append(s.queue, s.answer(m)...)
		b = rest
	}
	return nil
}

func (s *script) receive(b []byte) (int, error) {
	if len(s.queue) == 0 {
		return 0, errNoAnswer
	}
	n := copy(b, s.queue[0])
	s.queue = s.queue[1:]
	return n, nil
}

func (s *script) receiveMany(to *slots, n int) error {
	s.asked = append(s.asked, n)
	if len(s.queue) == 0 {
		return errNoAnswer
	}
	n = min(n, slotCount, len(s.queue))
	if s.most > 0 {
		n = min(n, s.most)
	}
	to.at, to.n = 0, 0
	for i := range n {
		got := copy(to.slot(i), s.queue[i])
		to.add(i, got, got < len(s.queue[i]))
	}
	s.queue = s.queue[n:]
	return nil
}

func (s *script) netnsCookie() (uint64, error) { return 0, unix.ENOPROTOOPT }

func (s *script) close() error { return nil }

// errnoMessage returns an NLMSG_ERROR or NLMSG_DONE with an errno.
func errnoMessage(typ uint16, seq uint32, errno unix.Errno) []byte {
	b := appendHeader(nil, typ, 0, seq, 4)
	return binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
}

// socketMessage returns the answer with a socket.
func socketMessage(typ uint16, seq uint32, id ID, state State) []byte {
	b := appendHeader(nil, typ, 0, seq, sizeofDiagMsg)
	b = append(b, id.family, uint8(state), 0, 0)
	b = append(b, id.sockid[:]...)
	return append(b, make([]byte, sizeofDiagMsg-4-sizeofSockID)...)
}

// testID returns an ID of family with a cookie, and the same addresses as all others.
func testID(family uint8, cookie uint64) ID {
	local, peer := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:50000")
	if family == unix.AF_INET6 {
		local, peer = netip.MustParseAddrPort("[2001:db8::1]:80"), netip.MustParseAddrPort("[2001:db8::2]:50000")
	}
	return NewID(family, local, peer, 0, cookie)
}

// cookies dumps and returns the cookies in order.
func cookies(tb testing.TB, c *Conn, f Filter) ([]uint64, error) {
	tb.Helper()
	var got []uint64
	err := c.Dump(f, func(s *Socket) error { got = append(got, s.ID.Cookie()); return nil })
	return got, err
}
