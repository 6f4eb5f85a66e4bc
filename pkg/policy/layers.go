// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Layers has the layers of an attachment's policy, as its record keeps them.
type Layers struct {
	Network Layer
	// Annotations are the pod's, verbatim; nil if the runtime passed none.
	Annotations  map[string]string
	PodOverrides PodOverrides
	// Observe is why the attachment is capped at observe, such as "wrong configuration"; it is shown as the source of the
	// mode. Empty if it is not capped.
	Observe string
}

// Resolved is the result of resolving layers.
type Resolved struct {
	// Policies are judged separately, and their sentences are joined. There is at least one, and two with
	// PodOverrides relax: without and with the annotations.
	Policies []Policy
	// Sources are the sources of the values in the last of Policies, which has all layers.
	Sources Sources
	// Problems are those of the annotations, or of all layers together: at most 16 of at most 512 bytes. The pod's text is
	// escaped in them.
	Problems []string
}

// Resolve returns the policies of the layers. It raises patiences below minGrace to it.
func (l Layers) Resolve(minGrace time.Duration) Resolved {
	return l.resolve(nil, func(p Policy) Policy { return p }, minGrace)
}

// ResolveWith is Resolve with additional layers, each list from lowest to highest: those of below are between the network's
// layer and the annotations', those of above are over the annotations', as Layer.enforce puts them.
func (l Layers) ResolveWith(below, above []Layer, minGrace time.Duration) Resolved {
	return l.resolve(below, func(p Policy) Policy {
		for i := range above {
			p = above[i].enforce(p)
		}
		return p
	}, minGrace)
}

// resolve is ResolveWith with a function that puts the layers above over a policy. The plugin, which calls Resolve alone,
// does not link Layer.enforce.
func (l Layers) resolve(below []Layer, enforce func(Policy) Policy, minGrace time.Duration) Resolved {
	network := l.Network
	if network.Source == "" {
		network.Source = SourceNetwork
	}
	lower := append([]Layer{network}, below...)
	pod, wrong, problems := readAnnotations(l.Annotations, l.PodOverrides)
	stacks := [][]Layer{lower}
	if pod != nil {
		with := append(slices.Clip(lower), *pod)
		if l.PodOverrides == OverridesAny {
			stacks = [][]Layer{with}
		} else {
			stacks = append(stacks, with)
		}
	}
	r := Resolved{Problems: problems}
	tooMany := 0
	for _, stack := range stacks {
		p := enforce(Compose(stack...)).atLeast(Patience(minGrace))
		if wrong {
			p = p.capped(Observe, SourceWrongAnnotation)
		}
		if n := len(p.Exempt) + len(p.Rules); n > maxMatches {
			p = p.capped(Observe, SourceTooManyRules)
			tooMany = max(tooMany, n)
		}
		if l.Observe != "" {
			p = p.capped(Observe, l.Observe)
		}
		r.Policies = append(r.Policies, p)
	}
	if tooMany > 0 && len(r.Problems) < maxWarnings {
		r.Problems = append(r.Problems, fmt.Sprintf("the layers have %d rules and exemptions, at most %d are allowed together (only observed)",
			tooMany, maxMatches))
	}
	r.Sources = r.Policies[len(r.Policies)-1].Sources
	return r
}

type layersJSON struct {
	Network      Layer             `json:"network"`
	Source       string            `json:"source,omitempty"` // of the network's layer, if it is not SourceNetwork
	Annotations  map[string]string `json:"annotations,omitempty"`
	PodOverrides PodOverrides      `json:"podOverrides"`
	Observe      string            `json:"observe,omitempty"`
}

// The JSON names of the parts of layers.
const (
	keyNetwork     = "network"
	keySource      = "source"
	keyAnnotations = "annotations"
	keyObserve     = "observe"
)

// MarshalJSON writes the layers for a record.
func (l Layers) MarshalJSON() ([]byte, error) {
	out := layersJSON{Network: l.Network, Annotations: l.Annotations, PodOverrides: l.PodOverrides, Observe: l.Observe}
	if l.Network.Source != SourceNetwork {
		out.Source = l.Network.Source
	}
	return marshalPlain(out)
}

// UnmarshalJSON reads the layers from a record. If any key is missing, unknown or repeated, or any value invalid, it returns
// an error with all problems, and does not change l: damaged layers never become less conservative ones.
func (l *Layers) UnmarshalJSON(data []byte) error {
	var c collector
	obj, ok := c.object("$", data)
	if !ok {
		return fmt.Errorf("read policy layers: %w", c.problems)
	}
	read := Layers{Network: Layer{Source: SourceNetwork}}
	keys := map[string]reader{
		keyNetwork: func(at string, raw json.RawMessage) {
			var problems Problems
			read.Network, problems = ParseLayer(raw, read.Network.Source)
			for _, p := range problems {
				c.addf(at+p.Path[1:], "%s", p.Message)
			}
		},
		keySource: func(at string, raw json.RawMessage) {
			text, ok := c.text(at, raw, `a source such as "register"`)
			if ok && text == "" {
				c.addf(at, "a source is missing")
			}
			read.Network.Source = text
		},
		keyAnnotations: func(at string, raw json.RawMessage) {
			var values map[string]*string
			if json.Unmarshal(raw, &values) != nil || values == nil {
				c.addf(at, "want an object of strings, got %s", describe(raw))
			}
			read.Annotations = make(map[string]string, len(values))
			for name, value := range values {
				if value == nil {
					c.addf(child(at, name), "want a string, got null")
					continue
				}
				read.Annotations[name] = *value
			}
		},
		keyPodOverrides: func(at string, raw json.RawMessage) { readWord(&c, at, raw, overrideWords, &read.PodOverrides) },
		keyObserve: func(at string, raw json.RawMessage) {
			text, ok := c.text(at, raw, "a reason")
			if ok && text == "" {
				c.addf(at, "a reason is missing")
			}
			read.Observe = text
		},
	}
	c.each("$", obj, keys, func(at string, _ field) { c.addf(at, "unknown key") })
	for _, key := range []string{keyNetwork, keyPodOverrides} {
		if !obj.has(key) {
			c.addf(child("$", key), "missing")
		}
	}
	if len(c.problems) > 0 {
		return fmt.Errorf("read policy layers: %w", c.problems)
	}
	*l = read
	return nil
}
