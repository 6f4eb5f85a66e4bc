// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// Policy says how long the half-closed sockets of one network namespace may live, and which are exempt.
//
// Its JSON form is what a record carries: every key but exempt is required, and a missing or unknown value
// is an error rather than a default, so that a damaged record never decodes to something that destroys. The
// zero Policy destroys nothing.
type Policy struct {
	Mode           Mode        `json:"mode"`
	CloseWaitGrace Grace       `json:"closeWaitGrace"`
	FinWait2Grace  Grace       `json:"finWait2Grace"`
	Clock          Clock       `json:"clock"`
	PendingData    PendingData `json:"pendingData"`
	Exempt         []Exemption `json:"exempt,omitempty"`
}

// The JSON names of a policy's fields; they are the keys of Sources too.
const (
	keyMode           = "mode"
	keyCloseWaitGrace = "closeWaitGrace"
	keyFinWait2Grace  = "finWait2Grace"
	keyClock          = "clock"
	keyPendingData    = "pendingData"
	keyExempt         = "exempt"
)

// Default returns the policy of a network that says nothing: destroy after ten minutes without progress in
// either state, but never with data pending; nothing is exempt.
func Default() Policy {
	return Policy{
		Mode:           Destroy,
		CloseWaitGrace: Grace(10 * time.Minute),
		FinWait2Grace:  Grace(10 * time.Minute),
		Clock:          ClockProgress,
		PendingData:    PendingKeep,
	}
}

// Grace returns the grace of CLOSE_WAIT or FIN_WAIT2. It is Never for any other state, and for a grace that
// is not positive.
func (p Policy) Grace(s inetdiag.State) Grace {
	switch s {
	case inetdiag.CloseWait:
		return orNever(p.CloseWaitGrace)
	case inetdiag.FinWait2:
		return orNever(p.FinWait2Grace)
	default:
		return Never
	}
}

func orNever(g Grace) Grace {
	if g <= 0 {
		return Never
	}
	return g
}

// Exempts returns the first exemption that the socket with these addresses matches, and whether there is
// one. Addresses may be v4-mapped.
func (p Policy) Exempts(local, peer netip.AddrPort) (Exemption, bool) {
	for _, e := range p.Exempt {
		if e.Matches(local, peer) {
			return e, true
		}
	}
	return Exemption{}, false
}

// Validate returns what is wrong with a policy that was not made by this package's parser: with one that
// was read from a record, or built in Go. It is empty for everything that the parser returns.
func (p Policy) Validate() Problems {
	var c collector
	word := func(key string, w words, v uint8) {
		if !w.has(v) {
			c.addf(child("$", key), "%d is not a %s", v, w.kind)
		}
	}
	word(keyMode, modeWords, uint8(p.Mode))
	for _, g := range []struct {
		key   string
		grace Grace
	}{{keyCloseWaitGrace, p.CloseWaitGrace}, {keyFinWait2Grace, p.FinWait2Grace}} {
		if g.grace <= 0 {
			c.addf(child("$", g.key), `%s is not a grace: want more than 0, or "never"`, g.grace)
		}
	}
	word(keyClock, clockWords, uint8(p.Clock))
	word(keyPendingData, pendingWords, uint8(p.PendingData))
	path := child("$", keyExempt)
	if len(p.Exempt) > maxExemptRecord {
		c.addf(path, "%d entries, at most %d are allowed", len(p.Exempt), maxExemptRecord)
		return c.problems
	}
	for i, e := range p.Exempt {
		e.validate(&c, index(path, i))
	}
	return c.problems
}

// Where a value came from, in Sources. An annotation's value has SourceAnnotation, a space and the
// annotation's name instead.
const (
	SourceBuiltIn    = "built-in"
	SourceNetwork    = "network"
	SourceAnnotation = "annotation"
)

// Sources says where each value of a policy came from: by the field's JSON name, "built-in", "network" or
// for instance "annotation halfclose.cni/grace". Exemptions that a pod added to its network's have both,
// joined by " and ".
type Sources map[string]string

func builtIn() Sources {
	return Sources{
		keyMode: SourceBuiltIn, keyCloseWaitGrace: SourceBuiltIn, keyFinWait2Grace: SourceBuiltIn,
		keyClock: SourceBuiltIn, keyPendingData: SourceBuiltIn, keyExempt: SourceBuiltIn,
	}
}

func (s Sources) clone() Sources {
	if s == nil {
		return builtIn()
	}
	return maps.Clone(s)
}

// UnmarshalJSON reads a policy from a record. Unknown keys are ignored; a required key that is missing, and
// any value that is not valid, is an error that wraps Problems, names them all and leaves p alone.
func (p *Policy) UnmarshalJSON(data []byte) error {
	var c collector
	fields, ok := c.object("$", data)
	if !ok {
		return fmt.Errorf("read policy: %w", c.problems)
	}
	var l layer
	c.each("$", fields, l.readers(&c, maxExemptRecord), func(string, field) {})
	for _, key := range []string{keyMode, keyCloseWaitGrace, keyFinWait2Grace, keyClock, keyPendingData} {
		if !fields.has(key) {
			c.addf(child("$", key), "missing")
		}
	}
	if len(c.problems) > 0 {
		return fmt.Errorf("read policy: %w", c.problems)
	}
	*p = Policy{
		Mode: l.mode.value, CloseWaitGrace: l.closeWait.value, FinWait2Grace: l.finWait2.value,
		Clock: l.clock.value, PendingData: l.pending.value, Exempt: l.exempt.value,
	}
	return nil
}
