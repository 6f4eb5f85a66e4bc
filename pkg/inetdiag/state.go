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

// HalfClosed reports whether one direction has been shut and the other has not: CLOSE_WAIT or FIN_WAIT2
// (RFC 9293, section 3.3.2).
func (s State) HalfClosed() bool { return s == CloseWait || s == FinWait2 }

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a state's name in any case, with "_" or "-" between its words.
func (s *State) UnmarshalText(text []byte) error {
	want := strings.ReplaceAll(strings.ToUpper(string(text)), "-", "_")
	for i, name := range stateNames {
		if name != "" && name == want {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown TCP state %q", text)
}

// States is a set of states: bit 1<<state, as in idiag_states of include/uapi/linux/inet_diag.h.
type States uint32

// The sets that a dump is usually asked for.
const (
	HalfClosed States = 1<<CloseWait | 1<<FinWait2
	AllStates  States = 1<<(BoundInactive+1) - 2
)

// Has reports whether the set holds s.
func (m States) Has(s State) bool { return s < 32 && m&(1<<s) != 0 }
