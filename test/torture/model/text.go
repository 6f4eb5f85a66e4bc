// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/json"
	"fmt"
	"time"
)

// String implements fmt.Stringer.
func (k EventKind) String() string {
	return [...]string{
		"", "half-closed", "accepted", "progress", "frozen", "thawed", "peer gone", "peer silent", "peer back", "wrote to a silent peer", "closed",
	}[k]
}

// String implements fmt.Stringer.
func (k Kind) String() string {
	return [...]string{"down", "observed", "policy uncertain", "ages may restart", "role unknown", "role known", "options changed", "layered", "peers not asked"}[k]
}

// String implements fmt.Stringer.
func (s State) String() string { return [...]string{"", "CLOSE_WAIT", "FIN_WAIT2"}[s] }

// String implements fmt.Stringer.
func (m Mode) String() string { return [...]string{"off", "observe", "destroy"}[m] }

// String implements fmt.Stringer.
func (p *Policy) String() string {
	never := func(d time.Duration) string {
		if d == Never {
			return "never"
		}
		return d.String()
	}
	text := fmt.Sprintf("%v, ask after %s (%d x %v), grace %s and %s, pending %s", p.Mode, never(p.ProbeAfter), p.ProbeCount, p.ProbeInterval,
		never(p.CloseWaitGrace), never(p.FinWait2Grace), never(p.PendingGrace))
	if p.ByState {
		text += ", clock state"
	}
	if len(p.Exempt) > 0 {
		b, _ := json.Marshal(p.Exempt)
		text += ", exempt " + string(b)
	}
	if len(p.Rules) > 0 {
		b, _ := json.Marshal(p.Rules)
		text += ", rules " + string(b)
	}
	return text
}
