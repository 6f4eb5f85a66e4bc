// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Socket is a half-closed socket as a program saw it: what sock_diag would have said of it, as far as a socket's
// history and verdict need it. Of Info that is BytesAcked, BytesReceived, SegsIn, LastAckRecv and LastDataRecv.
type Socket struct {
	inetdiag.Socket
	Netns uint64 // the cookie of its network namespace
	// At is when the program looked.
	At monotime.Time
	// Entered is when it became half-closed, where the program was called for that; then At is the same moment.
	// Else zero.
	Entered monotime.Time
}

// Holding is one descriptor of a process that leads to a half-closed socket. A socket that several descriptors
// lead to has several.
type Holding struct {
	Socket
	PID, FD int
	Command string // as in /proc/PID/comm
}

// Holder is one descriptor of a process that leads to a TCP socket.
type Holder struct {
	Inode   uint32 // the socket's
	PID, FD int
	Command string // as in /proc/PID/comm
}
