// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Socket is a half-closed socket as a program saw it: what sock_diag would have said of it, as far as a socket's
// history and verdict need it. Of Info that is State, BytesAcked, BytesReceived, SegsIn, LastAckRecv and
// LastDataRecv.
type Socket struct {
	inetdiag.Socket
	Netns uint64 // the cookie of its network namespace
	// At is when the program looked.
	At monotime.Time
	// Entered is when it became half-closed, where the program was called for that: then At is the same moment.
	// Else zero.
	Entered monotime.Time
	Opened  Opened
}

// Opened is which side opened a connection, as far as its socket proves it. Whether a listener is still open does not
// matter.
type Opened uint8

// The values of Opened, as in src/look.h.
const (
	OpenedUnknown Opened = iota // bind() chose the local port, then connect() was called
	OpenedHere                  // connect() chose the local port
	OpenedByPeer                // the socket is a listener's
)

// Holding is one descriptor of a process that leads to a half-closed socket. A socket that several descriptors
// lead to has as many.
type Holding struct {
	Socket
	PID, TID, FD int    // TID: of the thread whose descriptor table has FD; PID unless a thread has a table of its own
	Command      string // as in /proc/PID/comm
}

// Holder is one descriptor of a process that leads to a TCP socket.
type Holder struct {
	Inode        uint32 // the socket's
	PID, TID, FD int    // as of a Holding
	Command      string // as in /proc/PID/comm
}

// set makes s what the program wrote.
func (s *Socket) set(l *kernelLook, t ticks) error {
	// Family and id are in the kernel's memory as inetdiag has them.
	raw := (*[unsafe.Sizeof(*l)]byte)(unsafe.Pointer(l))[unsafe.Offsetof(l.Family):]
	if err := s.ID.UnmarshalBinary(raw); err != nil {
		return fmt.Errorf("read a socket of the programs': %w", err)
	}
	s.State = inetdiag.State(l.State)
	s.RQueue, s.WQueue, s.UID, s.Inode = l.Rqueue, l.Wqueue, l.Uid, l.Inode
	s.ULP = upperLayer(text(l.Ulp[:]))
	s.Info.State = s.State
	s.Info.BytesAcked, s.Info.BytesReceived, s.Info.SegsIn = l.BytesAcked, l.BytesReceived, l.SegsIn
	s.Info.LastAckRecv, s.Info.LastDataRecv = t.duration(l.SinceAck), t.duration(l.SinceData)
	s.HasInfo = true
	s.Netns, s.At, s.Entered = l.Netns, monotime.Time(l.At), monotime.Time(l.Entered)
	s.Opened = Opened(l.Opened)
	return nil
}

// upperLayer is name as a string. The usual ones need no memory.
func upperLayer(name []byte) string {
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

// text is what a C string has.
func text(s []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b
}
