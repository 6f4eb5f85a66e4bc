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

// Layer has the policy values of one source. The built-in values are below all layers. Its JSON form has the keys of a
// conflist's object.
type Layer struct {
	Source        string // shown as the source of its values; not part of the JSON form
	Values               // without Above and AskSigpipe, which only rules have
	ProbeCount    *int
	ProbeInterval *time.Duration
	Exempt        []Match // nil if the layer has no such list; a list replaces that of a lower layer
	Rules         []Rule  // likewise
}

// over returns policy p overridden by the layer. A layer with a value for grace, or for a state's own grace, hides both
// values of all lower layers for that state.
func (l *Layer) over(p Policy) Policy {
	p.Sources = maps.Clone(p.Sources)
	put(l, &p, keyMode, &p.Mode, l.Mode)
	for key, to := range map[string]*Patience{keyCloseWaitGrace: &p.CloseWaitGrace, keyFinWait2Grace: &p.FinWait2Grace} {
		state := inetdiag.CloseWait
		if key == keyFinWait2Grace {
			state = inetdiag.FinWait2
		}
		if grace, by := l.grace(state); grace != nil {
			*to = *grace
			p.Sources[key] = l.source(by)
		}
	}
	put(l, &p, keyProbeAfter, &p.ProbeAfter, l.ProbeAfter)
	put(l, &p, keyPendingGrace, &p.PendingGrace, l.PendingGrace)
	put(l, &p, keyProbeCount, &p.ProbeCount, l.ProbeCount)
	put(l, &p, keyProbeInterval, &p.ProbeInterval, l.ProbeInterval)
	put(l, &p, keyClock, &p.Clock, l.Clock)
	if l.Exempt != nil {
		put(l, &p, keyExempt, &p.Exempt, &l.Exempt)
	}
	if l.Rules != nil {
		put(l, &p, keyRules, &p.Rules, &l.Rules)
	}
	return p
}

func put[T any](l *Layer, p *Policy, key string, to, value *T) {
	if value == nil {
		return
	}
	*to = *value
	p.Sources[key] = l.source(key)
}

func (l *Layer) source(key string) string {
	if l.Source == SourceAnnotation {
		return SourceAnnotation + " " + annotationOf(key)
	}
	return l.Source
}

// Compose returns the policy of layers, the lowest first, on top of the built-in one.
func Compose(layers ...Layer) Policy {
	p := Default()
	for i := range layers {
		p = layers[i].over(p)
	}
	return p
}

// Layer returns a layer with every value of the policy.
func (p Policy) Layer(source string) Layer {
	return Layer{
		Source: source,
		Values: Values{
			Mode: new(p.Mode), CloseWaitGrace: new(p.CloseWaitGrace), FinWait2Grace: new(p.FinWait2Grace),
			ProbeAfter: new(p.ProbeAfter), PendingGrace: new(p.PendingGrace), Clock: new(p.Clock),
		},
		ProbeCount: new(p.ProbeCount), ProbeInterval: new(p.ProbeInterval), Exempt: p.Exempt, Rules: p.Rules,
	}
}

// readers returns the readers of a layer's keys, which store into l.
func (l *Layer) readers(c *collector) map[string]reader {
	keys := l.Values.readers(c)
	keys[keyProbeCount] = optional(&l.ProbeCount, func(at string, raw json.RawMessage, to *int) bool {
		return readInt(c, at, raw, "a number of probes such as 6", 1, maxProbeCount, to)
	})
	keys[keyProbeInterval] = optional(&l.ProbeInterval, func(at string, raw json.RawMessage, to *time.Duration) bool {
		return readInterval(c, at, raw, to)
	})
	keys[keyExempt] = func(at string, raw json.RawMessage) { l.Exempt = c.exemptions(at, raw) }
	keys[keyRules] = func(at string, raw json.RawMessage) { l.Rules = c.rules(at, raw) }
	return keys
}

// check reports the problems of a layer as a whole.
func (l *Layer) check(c *collector, path string) {
	if n := len(l.Exempt) + len(l.Rules); n > maxMatches {
		c.addf(path, "%d rules and exemptions, at most %d are allowed together", n, maxMatches)
		l.Exempt, l.Rules = nil, nil
	}
}

// readInterval reads the time between two probes: whole seconds, the kernel's unit.
func readInterval(c *collector, path string, raw json.RawMessage, to *time.Duration) bool {
	var p Patience
	if !readPatience(c, path, raw, &p) {
		return false
	}
	d := time.Duration(p)
	if d > maxProbeInterval || d%time.Second != 0 {
		c.addf(path, "%s is not a whole number of seconds from 1s to %s", p, FormatDuration(maxProbeInterval))
		return false
	}
	*to = d
	return true
}

// ParseLayer reads a layer from JSON, for example from the object of a network in a record, and sets its source. It leaves
// out values with a problem.
func ParseLayer(data []byte, source string) (Layer, Problems) {
	l := Layer{Source: source}
	c := collector{most: maxProblems}
	if obj, ok := c.object("$", data); ok {
		keys := l.readers(&c)
		ours := slices.Sorted(maps.Keys(keys))
		c.each("$", obj, keys, func(at string, f field) {
			if !isComment(f.key) {
				c.unknown(at, f.key, ours, ours)
			}
		})
		l.check(&c, "$")
	}
	return l, c.bounded()
}

// layerJSON is the JSON form of a layer.
type layerJSON struct {
	valuesJSON
	ProbeCount    *int      `json:"probeCount,omitempty"`
	ProbeInterval *Patience `json:"probeInterval,omitempty"`
	Exempt        *[]Match  `json:"exempt,omitempty"`
	Rules         *[]Rule   `json:"rules,omitempty"`
}

// MarshalJSON writes the layer's values with the keys of a conflist's object.
func (l Layer) MarshalJSON() ([]byte, error) {
	out := layerJSON{valuesJSON: valuesJSON(l.Values), ProbeCount: l.ProbeCount}
	if l.ProbeInterval != nil {
		out.ProbeInterval = new(Patience(*l.ProbeInterval))
	}
	if l.Exempt != nil {
		out.Exempt = &l.Exempt
	}
	if l.Rules != nil {
		out.Rules = &l.Rules
	}
	return marshalPlain(out)
}

// UnmarshalJSON reads a layer from a record. If there is any problem, such as an unknown key, it returns an error that wraps
// all Problems, and does not change l. It never changes the source.
func (l *Layer) UnmarshalJSON(data []byte) error {
	parsed, problems := ParseLayer(data, l.Source)
	if len(problems) > 0 {
		return fmt.Errorf("read policy layer: %w", problems)
	}
	*l = parsed
	return nil
}
