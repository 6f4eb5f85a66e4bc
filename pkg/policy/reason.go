// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Reason says why a socket is spared, or that nothing spares it. Its text is the name used in JSON, logs
// and metrics.
type Reason uint8

// The reasons.
const (
	Unknown            Reason = iota // the kernel did not say enough to judge
	Destroyable                      // past its deadline: nothing spares it
	NotHalfClosed                    // any state but CLOSE_WAIT and FIN_WAIT2
	NotRegistered                    // its namespace has no attachment
	Orphan                           // FIN_WAIT2 that no process owns: the kernel's timers end it
	NotAccepted                      // CLOSE_WAIT still in a listener's accept queue
	MPTCP                            // a subflow: the connection above it decides
	Exempted                         // matches an entry of the policy's exempt list
	ModeOff                          // the policy's mode is off
	GraceNever                       // the policy's grace for its state is never
	Young                            // half-closed for less than its grace
	Progressing                      // a byte moved, or was read, less than its grace ago
	UnreadData                       // its owner has bytes still to read
	UnacknowledgedData               // its peer has not acknowledged all that was written
	SeenOnce                         // past its deadline, but its owner may have been reading until just now
)

var reasonNames = [...]string{
	Unknown: "unknown", Destroyable: "destroy", NotHalfClosed: "not-half-closed", NotRegistered: "not-registered",
	Orphan: "orphan", NotAccepted: "not-accepted", MPTCP: "mptcp", Exempted: "exempt", ModeOff: "off",
	GraceNever: "never", Young: "young", Progressing: "progress", UnreadData: "unread",
	UnacknowledgedData: "unacknowledged", SeenOnce: "seen-once",
}

// Reasons lists all of them.
func Reasons() []Reason {
	all := make([]Reason, len(reasonNames))
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// String returns the reason's name, such as "unread".
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

// Explain says in words why v was reached, for the person who asks why a socket was, or was not, destroyed.
func Explain(v Verdict, p Policy, h History, s *inetdiag.Socket, now monotime.Time) string {
	grace := p.Grace(s.State)
	switch v.Reason {
	case Destroyable:
		return "its " + grace.String() + " grace ended " + Age(now.Sub(v.Deadline)).String() + " ago"
	case NotHalfClosed:
		return s.State.String() + " is not half-closed"
	case NotRegistered:
		return "its namespace has no attachment"
	case Orphan:
		return "no process owns it: the kernel ends it after net.ipv4.tcp_fin_timeout"
	case NotAccepted:
		return "its listener has not accepted it yet"
	case MPTCP:
		return "it is a subflow of an MPTCP connection"
	case Exempted:
		return "exempt: " + v.Exemption.String()
	case ModeOff:
		return "the policy's mode is off"
	case GraceNever:
		return "the policy's grace for " + s.State.String() + " is never"
	case Young:
		return "half-closed for " + Age(now.Sub(h.Since)).String() + " of its " + grace.String() + " grace"
	case Progressing:
		return "moved bytes " + Age(now.Sub(h.Progress)).String() + " ago, within its " + grace.String() + " grace"
	case UnreadData:
		return fmt.Sprintf("its owner has %d bytes still to read", Unread(s))
	case UnacknowledgedData:
		return fmt.Sprintf("its peer has %d bytes still to acknowledge", s.WQueue)
	case SeenOnce:
		return fmt.Sprintf("past its grace, but first looked at %s ago: its owner may have been reading before", Age(now.Sub(h.First)))
	case Unknown:
	}
	return "the kernel did not say enough to judge it"
}

// Age rounds a duration as people read ages: to a tenth of a second below a minute, to seconds above.
func Age(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
