// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Owner is a process that holds the socket, as far as asking needs to know it.
type Owner struct {
	PID int
	// TID is the thread through whose descriptor table the socket is reached, if that is not the process's main
	// thread: the thread has a table of its own, or the main thread has exited. Else 0 or PID.
	TID int
	// FD is the descriptor's number if HasFD; else, or if another socket has the number by now, the prober searches
	// the table.
	FD    int
	HasFD bool
	// DiesOfSigpipe says that SIGPIPE has its default disposition there.
	DiesOfSigpipe bool
}

// Question is one socket, to ask its peer.
type Question struct {
	Netns  finder.Netns
	ID     inetdiag.ID
	State  inetdiag.State
	Inode  uint32
	Owners []Owner // all that are known, the likeliest first
	// Count probes without an answer end the socket; they are Interval apart. The kernel takes 1 to 127 probes and
	// whole seconds from 1 to 32,767.
	Count    int
	Interval time.Duration
	// ProbeAfter is the patience that has passed. An application whose own keepalive is shorter is asking already.
	ProbeAfter time.Duration
	AskSigpipe bool // ask although an owner would die of SIGPIPE
	Tag        uint64
}

// Answer is how a question ended. The socket's options are restored by then, as far as a descriptor was found.
type Answer struct {
	Question *Question
	Result   Result
	Obstacle Obstacle // of NotAsked
	At       monotime.Time
	Err      error // of NotAsked, what went wrong
}

// Result is how a question ended.
type Result uint8

const (
	// Alive means that the peer has acknowledged a probe.
	Alive Result = iota + 1
	// Reset means that the socket has ended before the last probe: the peer does not know the connection.
	Reset
	// TimedOut means that the kernel has ended the socket because no probe was answered.
	TimedOut
	// Closed means that the socket ended for another reason than the question: its owner closed or disconnected it,
	// the peer's FIN came, or its network namespace is gone.
	Closed
	// NotAsked means that the peer was not asked, or could not answer. Nothing is known about it.
	NotAsked
	// Cancelled means that the question was withdrawn by Cancel, by the end of Run, or because the application wrote.
	Cancelled
	resultEnd
)

var resultNames = [resultEnd]string{
	Alive: "alive", Reset: "reset", TimedOut: "timeout", Closed: "closed", NotAsked: "not-asked", Cancelled: "cancelled",
}

// Results lists all of them.
func Results() []Result { return []Result{Alive, Reset, TimedOut, Closed, NotAsked, Cancelled} }

// String returns the result's name, such as "timeout".
func (r Result) String() string {
	if r < resultEnd {
		return resultNames[r]
	}
	return ""
}

// MarshalText returns the result's name.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Obstacle is why a peer cannot be asked.
type Obstacle uint8

const (
	// NoObstacle is that of all results but NotAsked, and of NotAsked where Err says why.
	NoObstacle Obstacle = iota
	// NoPtrace means that this process lacks CAP_SYS_PTRACE.
	NoPtrace
	// Refused means that the kernel or a security module refused, with the errno in Err.
	Refused
	// Linger means that the socket has SO_LINGER with a time above 0: to close a duplicate might block.
	Linger
	// NetCls means that the socket has a net_cls class, which to receive its descriptor would change.
	NetCls
	// Sigpipe means that an owner would die of SIGPIPE when it writes after a reset.
	Sigpipe
	// OwnerUnknown means that no known process has a descriptor of the socket.
	OwnerUnknown
	// Kernel means that the kernel has no pidfd_getfd (Linux 5.6), or none for threads (Linux 6.9).
	Kernel
	obstacleEnd
)

var obstacleNames = [obstacleEnd]string{
	NoPtrace: "no-ptrace", Refused: "refused", Linger: "linger", NetCls: "net-cls", Sigpipe: "sigpipe",
	OwnerUnknown: "owner-unknown", Kernel: "kernel",
}

// Obstacles lists all but NoObstacle.
func Obstacles() []Obstacle {
	return []Obstacle{NoPtrace, Refused, Linger, NetCls, Sigpipe, OwnerUnknown, Kernel}
}

// String returns the obstacle's name, such as "no-ptrace", or "".
func (o Obstacle) String() string {
	if o < obstacleEnd {
		return obstacleNames[o]
	}
	return ""
}

// MarshalText returns the obstacle's name.
func (o Obstacle) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// What Answer.Err may be of a NotAsked without an obstacle; errors.Is finds them.
var (
	// ErrUnacked means that the socket has unacknowledged data: the kernel sends no probe.
	ErrUnacked = errors.New("socket has unacknowledged data: the kernel retransmits that and sends no probe")
	// ErrOutstanding means that an earlier question about the socket has no answer yet.
	ErrOutstanding = errors.New("an earlier question about the socket has no answer yet")
	// ErrStuck means that closing duplicates of descriptors blocks threads.
	ErrStuck = errors.New("closing duplicates of descriptors blocks threads: peers are not asked while four are blocked")
	// ErrNoProbe means that the kernel neither got an answer nor gave up in the time that all probes take.
	ErrNoProbe = errors.New("no probe was sent or answered in the time that all of them take")
)
