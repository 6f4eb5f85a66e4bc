// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "time"

// EventKind is what happened to a socket.
type EventKind int

// The kinds of events.
const (
	// HalfClosed: the socket became half-closed, in State.
	HalfClosed EventKind = iota + 1
	// Accepted: a process accepted the connection.
	Accepted
	// Progress: a byte was sent and acknowledged, received or read. Unread is the number of unread bytes afterwards.
	Progress
	// Frozen and Thawed: all owners were frozen or stopped, and continued.
	Frozen
	Thawed
	// PeerGone: from then on a probe is answered with a reset.
	PeerGone
	// PeerSilent: from then on the peer answers nothing. PeerBack: it answers again.
	PeerSilent
	PeerBack
	// Wrote: the owner has sent bytes to a peer that does not acknowledge them. Unacked is set.
	Wrote
	// Closed: the owner closed or reconnected the socket: nothing is expected of it any more.
	Closed
)

// Event is one thing that happened to a socket. It took effect within the span.
type Event struct {
	Kind   EventKind
	Span   Span
	State  State // of HalfClosed
	Unread int   // of HalfClosed and Progress
}

// How is the way in which a socket ended.
type How int

// The ways, by the error that its owner got.
const (
	Destroyed How = iota + 1 // ECONNABORTED
	Reset                    // EPIPE or ECONNRESET
	TimedOut                 // ETIMEDOUT
	Other                    // no error, or another one
)

// Ending is the end of a socket as its owner saw it: between From, when it was last seen alive, and To.
type Ending struct {
	How      How
	From, To Time
}

// Socket is one end of a connection in a registered namespace, with what happened to it.
type Socket struct {
	ID        string // unique in a run
	Kind      string // of the connection
	Netns     string
	Loopback  bool
	Role      Role
	Binds     bool // the client chose its port with bind: no finder knows its role
	LocalPort uint16
	PeerPort  uint16
	Commands  []string // the name of each owner
	Accepted  bool     // no Accepted event is to come: it has been, or it is a client
	Keepalive bool     // its own keepalive comes sooner than the question: a gone peer may end it at any time
	Events    []Event  // in their order
	End       *Ending  // nil: it was alive when it was closed, or at the end of the run
	Partner   *Socket  // the other end, if it is in a registered namespace and halfclose can match the two
	Until     Time     // the end of the observation, if nothing has ended it before
}

// Change is a new policy of an attachment: nil from its DEL on.
type Change struct {
	Span   Span
	Policy *Policy
}

// Namespace is a registered network namespace.
type Namespace struct {
	Name        string
	Attachments map[string][]Change // by interface, in their order
}

// Bounds are how late halfclose may be, from docs/architecture.md.
type Bounds struct {
	// Reaction is the longest time from a deadline to its destroy or question, with a finder that works.
	Reaction time.Duration
	// Propagation is the longest time from the end of a command to its effect on a running reaper.
	Propagation time.Duration
	// Answer is the longest time from a question to the reset that a gone peer answers.
	Answer time.Duration
	// AskRetry is the time after which a peer that could not be asked is asked again.
	AskRetry time.Duration
	// LookAge is the age of the last look at a socket when it is destroyed.
	LookAge time.Duration
	// Thaw is the longest time until a reaper notices that frozen owners run again.
	Thaw time.Duration
	// MinGrace is the reaper's --min-grace.
	MinGrace time.Duration
}

// Run is all that happened on the node.
type Run struct {
	Bounds     Bounds
	Effects    []Effect
	Namespaces map[string]*Namespace
	// OwnersIncomplete is set if the reaper does not see each process of the machine. Then a socket may have another owner, which
	// a rule for a command may match.
	OwnersIncomplete bool
	// Stalled returns for how long the machine ran nothing between two times, as a canary has measured it. It may be nil.
	Stalled func(from, to Time) time.Duration
}

// Expectation is what the model allows and requires of a socket.
type Expectation struct {
	Destroy  []Interval // in which it may be destroyed
	Question []Interval // in which its peer may be asked
	Latest   Time       // by which it must have ended; Forever if it may stay
	// Above is the number of sockets that a rule with a count keeps, LatestCounted by when this one must have ended if it is
	// not among those.
	Above         int
	LatestCounted Time
	Earliest      Time // of Destroy and of a question to a gone peer; Forever if it must stay
}

// Restrict forbids a destroy before a time.
func (x *Expectation) Restrict(from Time) {
	var allowed []Interval
	for _, d := range x.Destroy {
		if d.To > from {
			allowed = append(allowed, Interval{max(d.From, from), d.To})
		}
	}
	x.Destroy, x.Earliest = allowed, max(x.Earliest, from)
}

// Forever is later than every other time.
const Forever = Time(1<<63 - 1)

// Interval is a time with both ends.
type Interval struct {
	From, To Time
}
