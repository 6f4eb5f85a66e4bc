// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"fmt"
	"strings"
)

// State is the state of a TCP socket, numbered as in include/net/tcp_states.h.
type State uint8

// The states of include/net/tcp_states.h.
const (
	Established State = 1 + iota
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
	BoundInactive
)

var stateNames = [...]string{
	Established: "ESTABLISHED", SynSent: "SYN_SENT", SynRecv: "SYN_RECV", FinWait1: "FIN_WAIT1",
	FinWait2: "FIN_WAIT2", TimeWait: "TIME_WAIT", Close: "CLOSE", CloseWait: "CLOSE_WAIT",
	LastAck: "LAST_ACK", Listen: "LISTEN", Closing: "CLOSING", NewSynRecv: "NEW_SYN_RECV",
	BoundInactive: "BOUND_INACTIVE",
}

// String returns the name that the kernel and netstat use, such as "CLOSE_WAIT".
func (s State) String() string {
	if s > 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// HalfClosed reports whether one direction of the connection is closed and the other is not: CLOSE_WAIT or FIN_WAIT2
// (RFC 9293, section 3.3.2).
func (s State) HalfClosed() bool { return s == CloseWait || s == FinWait2 }

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseState of any state.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text), AllStates)
	return err
}

// ParseState returns the state of accepted with that name, in any case and as any of the kernel, netstat(8) and ss(8)
// write it: FIN_WAIT2, fin-wait2, FIN-WAIT-2. The error lists the accepted states.
func ParseState(text string, accepted States) (State, error) {
	fold := strings.NewReplacer("-", "", "_", "").Replace
	var names []string
	for s := Established; s <= BoundInactive; s++ {
		if accepted&(1<<s) == 0 {
			continue
		}
		if strings.EqualFold(fold(text), fold(s.String())) {
			return s, nil
		}
		names = append(names, s.String())
	}
	return 0, fmt.Errorf("unknown TCP state %q: want one of %s", text, strings.Join(names, ", "))
}

// States is a set of states with the bits 1<<state, as idiag_states of include/uapi/linux/inet_diag.h.
type States uint32

// The usual sets.
const (
	HalfClosed States = 1<<CloseWait | 1<<FinWait2
	AllStates  States = 1<<(BoundInactive+1) - 2
)
