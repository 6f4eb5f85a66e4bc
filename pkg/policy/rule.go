// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// Values are the values of a layer or a rule; nil is one that it does not have.
type Values struct {
	Mode                                                           *Mode
	Grace, CloseWaitGrace, FinWait2Grace, ProbeAfter, PendingGrace *Patience
	Clock                                                          *Clock
	// Only rules have Above and AskSigpipe. Above is the number of sockets past their grace that the rule spares. AskSigpipe
	// allows a question although the answer may kill the owner with SIGPIPE.
	Above      *int
	AskSigpipe *bool
}

// Rule has values for the sockets that its match selects.
type Rule struct {
	Match  Match
	Values Values
	// Source is the source of a rule in a list that has the rules of several layers; it is empty in any other list. It is not
	// part of the JSON form.
	Source string
}

// The keys of values in JSON.
const (
	keyMode           = "mode"
	keyGrace          = "grace"
	keyCloseWaitGrace = "closeWaitGrace"
	keyFinWait2Grace  = "finWait2Grace"
	keyProbeAfter     = "probeAfter"
	keyProbeCount     = "probeCount"
	keyProbeInterval  = "probeInterval"
	keyPendingGrace   = "pendingGrace"
	keyClock          = "clock"
	keyExempt         = "exempt"
	keyRules          = "rules"
	keyMatch          = "match"
	keyAbove          = "above"
	keyAskSigpipe     = "askSigpipe"
)

// maxAbove bounds above. No netns has ports or memory for more sockets.
const maxAbove = 10_000_000

// grace returns the grace for a state, and its key.
func (v *Values) grace(s inetdiag.State) (*Patience, string) {
	switch {
	case s == inetdiag.CloseWait && v.CloseWaitGrace != nil:
		return v.CloseWaitGrace, keyCloseWaitGrace
	case s == inetdiag.FinWait2 && v.FinWait2Grace != nil:
		return v.FinWait2Grace, keyFinWait2Grace
	}
	return v.Grace, keyGrace
}

// names reports whether the values include one for a policy's key. Grace counts for the keys of both states.
func (v *Values) names(key string) bool {
	switch key {
	case keyMode:
		return v.Mode != nil
	case keyCloseWaitGrace:
		return v.Grace != nil || v.CloseWaitGrace != nil
	case keyFinWait2Grace:
		return v.Grace != nil || v.FinWait2Grace != nil
	case keyProbeAfter:
		return v.ProbeAfter != nil
	case keyPendingGrace:
		return v.PendingGrace != nil
	}
	return false
}

// patiences returns pointers to all patiences.
func (v *Values) patiences() []**Patience {
	return []**Patience{&v.Grace, &v.CloseWaitGrace, &v.FinWait2Grace, &v.ProbeAfter, &v.PendingGrace}
}

// readers returns the readers of the keys that layers and rules have, which store into v.
func (v *Values) readers(c *collector) map[string]reader {
	patience := func(to **Patience) reader {
		return optional(to, func(at string, raw json.RawMessage, to *Patience) bool { return readPatience(c, at, raw, to) })
	}
	return map[string]reader{
		keyMode: optional(&v.Mode, func(at string, raw json.RawMessage, to *Mode) bool {
			return readWord(c, at, raw, modeWords, to)
		}),
		keyGrace:          patience(&v.Grace),
		keyCloseWaitGrace: patience(&v.CloseWaitGrace),
		keyFinWait2Grace:  patience(&v.FinWait2Grace),
		keyProbeAfter:     patience(&v.ProbeAfter),
		keyPendingGrace:   patience(&v.PendingGrace),
		keyClock: optional(&v.Clock, func(at string, raw json.RawMessage, to *Clock) bool {
			return readWord(c, at, raw, clockWords, to)
		}),
	}
}

// rules reads a list of rules. It returns nil if there is any problem.
func (c *collector) rules(path string, raw json.RawMessage) []Rule {
	before := c.count()
	values, ok := c.list(path, raw, `a list such as [{"match": {"role": "client"}, "grace": "10m"}]`, maxMatches)
	if !ok {
		return nil
	}
	all := make([]Rule, 0, len(values))
	for i, value := range values {
		all = append(all, c.rule(index(path, i), value))
	}
	if c.count() > before {
		return nil
	}
	return all
}

func (c *collector) rule(path string, raw []byte) Rule {
	var r Rule
	obj, ok := c.object(path, raw)
	if !ok {
		return r
	}
	keys := r.Values.readers(c)
	keys[keyAbove] = optional(&r.Values.Above, func(at string, raw json.RawMessage, to *int) bool {
		return readInt(c, at, raw, "a number of sockets such as 1000", 1, maxAbove, to)
	})
	keys[keyAskSigpipe] = optional(&r.Values.AskSigpipe, func(at string, raw json.RawMessage, to *bool) bool {
		return readBool(c, at, raw, to)
	})
	values := slices.Sorted(maps.Keys(keys))
	keys[keyMatch] = func(at string, raw json.RawMessage) { r.Match = c.match(at, raw, matchesAll) }
	all := append([]string{keyMatch}, values...)
	hasValues := false
	c.each(path, obj, keys, func(at string, f field) {
		switch {
		case isComment(f.key):
		case slices.Contains(matchKeys(), f.key):
			c.addf(at, `belongs into "match": write "match": {"%s": ...}`, f.key)
		case f.key == keyProbeCount || f.key == keyProbeInterval:
			hasValues = true
			c.addf(at, "is the same for all sockets: give it outside of the rules")
		default:
			hasValues = true
			c.unknown(at, f.key, all, all)
		}
	})
	if !obj.has(keyMatch) {
		c.addf(path, `"match" is missing: which sockets is the rule for?`)
	}
	for _, key := range values {
		hasValues = hasValues || obj.has(key)
	}
	if !hasValues {
		c.addf(path, `a rule without values changes nothing: give it some, or write it into "exempt"`)
	}
	r.check(c, path)
	return r
}

// check reports values that contradict each other, and values that have no effect under any other layers.
func (r *Rule) check(c *collector, path string) {
	v := &r.Values
	if r.Match.State == inetdiag.CloseWait && v.FinWait2Grace != nil {
		c.addf(child(path, keyFinWait2Grace), `has no effect on "state": "CLOSE_WAIT": write "closeWaitGrace"`)
	}
	if r.Match.State == inetdiag.FinWait2 && v.CloseWaitGrace != nil {
		c.addf(child(path, keyCloseWaitGrace), `has no effect on "state": "FIN_WAIT2": write "finWait2Grace"`)
	}
	if v.AskSigpipe != nil && *v.AskSigpipe {
		switch {
		case v.Mode != nil && *v.Mode == Off:
			c.addf(child(path, keyAskSigpipe), `has no effect beside "mode": "off", in which no peer is asked`)
		case v.ProbeAfter != nil && *v.ProbeAfter == Never:
			c.addf(child(path, keyAskSigpipe), `has no effect beside "probeAfter": "never", with which no peer is asked`)
		}
	}
	if v.Above == nil {
		return
	}
	switch {
	case v.Mode != nil && *v.Mode == Off:
		c.addf(child(path, keyAbove), `has no effect beside "mode": "off", which destroys nothing`)
	case r.destroysNothingByGrace():
		c.addf(child(path, keyAbove), `has no effect beside "grace": "never": above counts the sockets that are past their grace`)
	}
}

// destroysNothingByGrace reports whether the rule itself gives grace never to every socket that it can match.
func (r *Rule) destroysNothingByGrace() bool {
	for _, s := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
		if r.Match.State != 0 && r.Match.State != s {
			continue
		}
		if g, _ := r.Values.grace(s); g == nil || *g != Never {
			return false
		}
	}
	return true
}

// valuesJSON is the JSON form of values.
type valuesJSON struct {
	Mode           *Mode     `json:"mode,omitempty"`
	Grace          *Patience `json:"grace,omitempty"`
	CloseWaitGrace *Patience `json:"closeWaitGrace,omitempty"`
	FinWait2Grace  *Patience `json:"finWait2Grace,omitempty"`
	ProbeAfter     *Patience `json:"probeAfter,omitempty"`
	PendingGrace   *Patience `json:"pendingGrace,omitempty"`
	Clock          *Clock    `json:"clock,omitempty"`
	Above          *int      `json:"above,omitempty"`
	AskSigpipe     *bool     `json:"askSigpipe,omitempty"`
}

// MarshalJSON writes the rule as in a conflist.
func (r Rule) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Match Match `json:"match"`
		valuesJSON
	}{r.Match, valuesJSON(r.Values)})
}

// UnmarshalJSON reads a rule as strictly as ParseNetwork does. If there is any problem, it returns an error that wraps
// Problems, and does not change r.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var c collector
	parsed := c.rule("$", data)
	if len(c.problems) > 0 {
		return fmt.Errorf("read rule: %w", c.problems)
	}
	*r = parsed
	return nil
}

// The bounds of probeCount and probeInterval: those of TCP_KEEPCNT and TCP_KEEPINTVL.
const (
	maxProbeCount    = 127
	maxProbeInterval = 32767 * time.Second
)
