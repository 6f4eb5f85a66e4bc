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

// Socket is a half-closed socket as a program read it. Its inetdiag.Socket has the fields that a socket's history and
// verdict need, with the values that sock_diag would report: ID, State, RQueue, WQueue, UID, Inode, ULP, and of Info State,
// BytesAcked, BytesReceived, SegsIn, LastAckRecv and LastDataRecv.
type Socket struct {
	inetdiag.Socket
	Netns uint64 // the cookie of its network namespace
	// At is when the program read the socket.
	At monotime.Time
	// Entered is when the socket became half-closed, which is At too; zero if the kernel did not run the program then.
	Entered monotime.Time
	Opened  Opened
}

// Opened is the side that opened a connection, as far as its socket proves it. The listener may have closed.
type Opened uint8

// The values of Opened, as in src/snapshot.h.
const (
	OpenedUnknown Opened = iota // bind() chose the local port, then connect() was called
	OpenedHere                  // connect() chose the local port
	OpenedByPeer                // the socket was accepted
)

// OwnedSocket is a half-closed socket with a file descriptor of a process that refers to it. A socket to which several
// descriptors refer is reported once for each.
type OwnedSocket struct {
	Socket
	PID, TID, FD int    // as of a Descriptor
	Command      string // as in /proc/PID/comm
}

// Descriptor is a file descriptor of a process that refers to a TCP socket.
type Descriptor struct {
	Inode        uint32 // the socket's
	PID, TID, FD int    // TID owns the descriptor table: it is PID unless a thread has a table of its own
	Command      string // as in /proc/PID/comm
}

// set converts a program's output.
func (s *Socket) set(k *kernelSnapshot, t ticks) error {
	// Family and id together are the binary form of an inetdiag.ID.
	raw := (*[unsafe.Sizeof(*k)]byte)(unsafe.Pointer(k))[unsafe.Offsetof(k.Family):]
	if err := s.ID.UnmarshalBinary(raw); err != nil {
		return fmt.Errorf("read a socket that a program reports: %w", err)
	}
	s.State = inetdiag.State(k.State)
	s.RQueue, s.WQueue, s.UID, s.Inode = k.Rqueue, k.Wqueue, k.Uid, k.Inode
	s.ULP = inetdiag.ULPName(cString(k.Ulp[:]))
	s.Info.State = s.State
	s.Info.BytesAcked, s.Info.BytesReceived, s.Info.SegsIn = k.BytesAcked, k.BytesReceived, k.SegsIn
	s.Info.LastAckRecv, s.Info.LastDataRecv = t.duration(k.SinceAck), t.duration(k.SinceData)
	s.HasInfo = true
	s.Netns, s.At, s.Entered = k.Netns, monotime.Time(k.At), monotime.Time(k.Entered)
	s.Opened = Opened(k.Opened)
	return nil
}

// cString returns s up to its first NUL.
func cString(s []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b
}
