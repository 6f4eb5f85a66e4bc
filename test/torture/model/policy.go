// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "time"

// Never is a patience without end.
const Never = time.Duration(1<<63 - 1)

// Mode is the most that is done to a socket.
type Mode int

// The modes, from the most conservative one.
const (
	Off Mode = iota
	Observe
	Destroy
)

// State is a half-closed state.
type State int

// The half-closed states.
const (
	CloseWait State = iota + 1
	FinWait2
)

// Role is the end of a connection.
type Role int

// The roles.
const (
	Client Role = iota + 1
	Server
)

// Policy has the values of docs/configuration.md.
type Policy struct {
	Mode           Mode
	ProbeAfter     time.Duration
	ProbeCount     int
	ProbeInterval  time.Duration
	CloseWaitGrace time.Duration
	FinWait2Grace  time.Duration
	PendingGrace   time.Duration
	ByState        bool // clock: state
	Rules          []Rule
	Exempt         []Match
}

// Layer has values that replace those of a policy: nil keeps the policy's.
type Layer struct {
	Mode           *Mode
	ProbeAfter     *time.Duration
	CloseWaitGrace *time.Duration
	FinWait2Grace  *time.Duration
	PendingGrace   *time.Duration
	ByState        *bool
}

// Rule gives the sockets that it matches other values.
type Rule struct {
	Match Match
	Layer Layer
	Above int // the number of sockets past their grace that stay
}

// Match selects sockets. The zero value of a key matches all.
type Match struct {
	State     State
	Role      Role
	LocalPort uint16
	PeerPort  uint16
	Loopback  bool
	Command   string
}

// With returns the policy with the values of a layer.
func (p Policy) With(l Layer) Policy {
	set(&p.Mode, l.Mode)
	set(&p.ProbeAfter, l.ProbeAfter)
	set(&p.CloseWaitGrace, l.CloseWaitGrace)
	set(&p.FinWait2Grace, l.FinWait2Grace)
	set(&p.PendingGrace, l.PendingGrace)
	set(&p.ByState, l.ByState)
	return p
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
