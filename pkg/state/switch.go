// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

// Switch is an operator's cap on the mode of this node's attachments, or of those in its Scope. It survives restarts and
// reboots.
type Switch struct {
	Scope             // zero: every attachment of this node
	Mode  policy.Mode `json:"mode"`
	Who   string      `json:"who"`  // the user who set it, for operators
	When  time.Time   `json:"when"` // by the wall clock
	// Until is when it ends, by the wall clock; zero is never.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"` // the operator's, for other operators
}

// By returns the author, time, end and reason of the switch, as far as the file has them: an operator may have written it
// by hand. Times are local.
func (s Switch) By() string {
	by := s.Who
	if by == "" {
		by = "hand"
	}
	if !s.When.IsZero() {
		by += " at " + s.When.Local().Format(time.RFC3339)
	}
	if !s.Until.IsZero() {
		by += " until " + s.Until.Local().Format(time.RFC3339)
	}
	if s.Reason != "" {
		by += fmt.Sprintf(", reason %q", s.Reason)
	}
	return by
}

// InForce reports whether the switch caps anything at a time of the wall clock. A clock before the time of writing is
// wrong, and leaves the switch in force.
func (s Switch) InForce(now time.Time) bool {
	return s.Until.IsZero() || now.Before(s.Until) || now.Before(s.When)
}
