// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"time"
)

// Reason says why a socket is spared, or that nothing spares it. Its text is the name used in JSON, logs
// and metrics.
type Reason uint8

// The reasons.
const (
	Unknown        Reason = iota // the kernel did not say enough to judge
	Destroyable                  // past its patience: nothing spares it
	WouldDestroy                 // the same, in mode observe
	WithinGrace                  // idle for less than its grace
	Progressing                  // a byte moved, or was read, less than its grace ago
	AskingPeer                   // its peer is being asked
	PeerAlive                    // its peer has answered in this idle time, and its grace is not over
	PeerSpared                   // the other end of the connection is known, and spared for a standing reason
	WouldAsk                     // its peer would be asked, in mode destroy
	UnreadData                   // past its grace, but its owner has bytes still to read
	UnackedData                  // past its grace, but its peer has not acknowledged all that was written
	BelowThreshold               // past its grace, but a rule leaves that number alone
	OwnerFrozen                  // all its owners are frozen or stopped
	OwnerUnknown                 // it depends on its owner, which could not be found
	Orphan                       // FIN_WAIT2 that no process owns: the kernel's timers end it
	NotAccepted                  // CLOSE_WAIT still in a listener's accept queue
	MPTCP                        // a subflow: the connection above it decides
	Exempted                     // matches an entry of the policy's exempt list
	ModeOff                      // the policy's mode is off
	GraceNever                   // the policy's grace for it is never
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

// Reasons lists all of them.
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

// UnmarshalText takes a reason's name.
func (r *Reason) UnmarshalText(text []byte) error {
	for i, name := range reasonNames {
		if name == string(text) {
			*r = Reason(i)
			return nil
		}
	}
	return fmt.Errorf("unknown reason %q", text)
}

// UnmarshalJSON reads what MarshalText writes. A reaper of another version may have reasons that this one has not: those
// are Unknown.
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

// Age rounds a duration as people read ages: to a tenth of a second below a minute, to seconds above.
func Age(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
