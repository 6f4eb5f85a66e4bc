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

// Owner is a process that holds a socket, with the properties that a question needs.
type Owner struct {
	PID int
	// TID is the thread whose descriptor table has the socket, if it is not the main thread: one with a table of its own, or
	// any if the main thread has exited. Otherwise it is 0 or PID.
	TID int
	// FD is the descriptor if HasFD is set. If it is not, or the descriptor is of another file now, the prober scans the table.
	FD    int
	HasFD bool
	// DiesOfSigpipe is set if SIGPIPE has its default action.
	DiesOfSigpipe bool
}

// Question asks the peer of one socket.
type Question struct {
	Netns  finder.Netns
	ID     inetdiag.ID
	State  inetdiag.State
	Inode  uint32
	Owners []Owner // all known ones, the likeliest first
	// After Count unanswered probes the kernel closes the socket; they are Interval apart. The kernel accepts 1 to 127 probes
	// and whole seconds from 1 to 32,767.
	Count    int
	Interval time.Duration
	// ProbeAfter is the patience that has passed. If the application's own keepalive is shorter, it is used as the question.
	ProbeAfter time.Duration
	AskSigpipe bool // ask although SIGPIPE may kill an owner
	Tag        uint64
}

// Answer is the answer to a question. The socket's options are restored before it is sent, if a descriptor was found.
type Answer struct {
	Question *Question
	Result   Result
	Obstacle Obstacle // of NotAsked
	At       monotime.Time
	Err      error // of NotAsked and Cancelled; may be nil
}

// Result is the result of a question.
type Result uint8

const (
	// Alive means that the peer has acknowledged a probe.
	Alive Result = iota + 1
	// Reset means that the peer answered with a reset: it does not know the connection.
	Reset
	// TimedOut means that the kernel has closed the socket because no probe was answered.
	TimedOut
	// Closed means that the socket was closed for another reason: its owner closed or disconnected it, the peer's FIN arrived,
	// or its network namespace was deleted.
	Closed
	// NotAsked means that the peer was not asked, or that there was no result in time.
	NotAsked
	// Cancelled means that the question was withdrawn: by Cancel, by the end of Run, or because the application wrote.
	Cancelled
	resultEnd
)

var resultNames = [resultEnd]string{
	Alive: "alive", Reset: "reset", TimedOut: "timeout", Closed: "closed", NotAsked: "not-asked", Cancelled: "cancelled",
}

// Results returns all results.
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
	// NoObstacle is that of all results except NotAsked, and of NotAsked with a reason in Err.
	NoObstacle Obstacle = iota
	// NoPtrace means that this process lacks CAP_SYS_PTRACE.
	NoPtrace
	// Refused means that the kernel or a security module refused, with the errno in Err.
	Refused
	// Linger means that the socket has SO_LINGER with a time above 0: closing a duplicate could block.
	Linger
	// NetCls means that the socket has a net_cls class of its own, which duplicating its descriptor would change.
	NetCls
	// Sigpipe means that SIGPIPE would kill an owner that writes after a reset.
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

// Obstacles returns all obstacles except NoObstacle.
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

// Errors in Answer.Err, for errors.Is, of NotAsked without an obstacle and of Cancelled.
var (
	// ErrUnacked means that the socket has unacknowledged data: the kernel sends no probe.
	ErrUnacked = errors.New("socket has unacknowledged data: the kernel retransmits that and sends no probe")
	// ErrOutstanding means that an earlier question about the socket is under way.
	ErrOutstanding = errors.New("an earlier question about the socket has no answer yet")
	// ErrStuck means that threads are blocked by closing duplicates of descriptors.
	ErrStuck = errors.New("threads are blocked by closing duplicates of descriptors: at four, no peer is asked")
	// ErrNoProbe means that the kernel neither received an answer nor closed the socket in the time that all probes take.
	ErrNoProbe = errors.New("no probe was sent or answered in the time of all probes")
	// ErrTooIdle means that the socket has been idle for longer than TCP_KEEPIDLE can express.
	ErrTooIdle = errors.New("socket has been idle for more than 9h6m: no TCP_KEEPIDLE is above that")
)
