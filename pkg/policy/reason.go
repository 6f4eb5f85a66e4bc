// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
)

// Reason is why a socket is spared, or Destroyable if it is not. Its text is the name in JSON, logs, metrics and tables.
type Reason uint8

// The reasons.
const (
	Unknown        Reason = iota // the kernel returned too little to judge it
	Destroyable                  // past its patience, and not spared
	WouldDestroy                 // the same, in mode observe
	WithinGrace                  // idle for less than its grace
	Progressing                  // a byte moved, or was read, less than its grace ago
	AskingPeer                   // its peer is being asked
	PeerAlive                    // its peer has answered in this idle time, and its grace is not over
	PeerSpared                   // the other end of the connection has a standing reason
	WouldAsk                     // its peer would be asked, in mode destroy
	UnreadData                   // past its grace, but its owner has not read all bytes
	UnackedData                  // past its grace, but its peer has not acknowledged all bytes
	BelowThreshold               // past its grace, but an above rule spares it
	OwnerFrozen                  // all its owners are frozen or stopped
	OwnerUnknown                 // the decision depends on its owner, which is not found
	Orphan                       // FIN_WAIT2 without a process: the kernel's timer closes it
	NotAccepted                  // CLOSE_WAIT still in a listener's accept queue
	MPTCP                        // a subflow of an MPTCP connection
	Exempted                     // matches an entry of the policy's exempt list
	ModeOff                      // its mode is off
	GraceNever                   // its grace is never
	NotHalfClosed                // any state but CLOSE_WAIT and FIN_WAIT2
	NotRegistered                // its netns has no attachment
)

var reasonNames = [...]string{
	Unknown: "unknown", Destroyable: "destroy", WouldDestroy: "would-destroy", WithinGrace: "within-grace",
	Progressing: "progress", AskingPeer: "asking-peer", PeerAlive: "peer-alive", PeerSpared: "peer-spared",
	WouldAsk: "would-ask", UnreadData: "unread-data", UnackedData: "unacked-data", BelowThreshold: "below-threshold",
	OwnerFrozen: "owner-frozen", OwnerUnknown: "owner-unknown", Orphan: "orphan", NotAccepted: "not-accepted",
	MPTCP: "mptcp", Exempted: "exempt", ModeOff: "mode-off", GraceNever: "grace-never",
	NotHalfClosed: "not-half-closed", NotRegistered: "not-registered",
}

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, len(reasonNames))
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// String returns the reason's name, such as "unread-data".
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// MarshalText returns the reason's name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses a reason's name.
func (r *Reason) UnmarshalText(text []byte) error {
	for i, name := range reasonNames {
		if name == string(text) {
			*r = Reason(i)
			return nil
		}
	}
	return fmt.Errorf("unknown reason %q", text)
}

// UnmarshalJSON reads a reason's name. A name that this version does not have, from a reaper of another version, is Unknown.
func (r *Reason) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read reason: %w", err)
	}
	if r.UnmarshalText([]byte(text)) != nil {
		*r = Unknown
	}
	return nil
}
