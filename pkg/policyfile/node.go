// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/policy"
)

// check reports what a policy file may not use of YAML: aliases, anchors, tags and more levels than maxDepth. It returns
// false for a value that cannot be read.
func (p *parser) check(n *yaml.Node, at string, depth int) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.addf(n, at, "aliases (*%s) are not allowed: write the value again", safetext.Escape(safetext.Cut(n.Value, maxQuoted)))
		return false
	case depth > maxDepth:
		p.addf(n, at, "more than %d levels of lists and mappings", maxDepth)
		return false
	}
	if n.Anchor != "" {
		p.addf(n, at, "anchors (&%s) are not allowed: remove it", safetext.Escape(safetext.Cut(n.Anchor, maxQuoted)))
	}
	if n.Style&yaml.TaggedStyle != 0 {
		p.addf(n, at, "tags (%s) are not allowed: remove it, every value is read as text", safetext.Escape(safetext.Cut(n.Tag, maxQuoted)))
	}
	return true
}

// fields returns the values of a mapping with these keys, and reports all others. It returns false if n is no mapping.
func (p *parser) fields(n *yaml.Node, at string, depth int, names []string) (map[string]*yaml.Node, bool) {
	if !p.check(n, at, depth) {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		p.addf(n, at, "want a mapping of %s, got %s", strings.Join(names, ", "), describe(n))
		return nil, false
	}
	isKnown := make(map[string]bool)
	for _, name := range names {
		isKnown[name] = true
	}
	fields := make(map[string]*yaml.Node)
	p.eachField(n, at, func(key, value *yaml.Node, at string) {
		if !isKnown[key.Value] {
			p.unknown(key, at, names)
			return
		}
		fields[key.Value] = value
		p.check(value, at, depth+1)
	})
	return fields, true
}

// eachField calls fn for each key of a mapping, and reports repeated keys, merge keys and keys that are not text.
func (p *parser) eachField(n *yaml.Node, at string, fn func(key, value *yaml.Node, at string)) {
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			p.check(key, at, 0)
			p.addf(key, at, "want a text as key, got %s", describe(key))
			continue
		}
		child := policy.ChildPath(at, key.Value)
		p.check(key, child, 0)
		switch {
		case key.Tag == mergeTag:
			p.addf(key, child, "merge keys (<<) are not allowed: write the values again")
		case seen[key.Value]:
			p.addf(key, child, "given more than once")
		default:
			seen[key.Value] = true
			fn(key, value, child)
		}
	}
}

// The tags of the library that matter here.
const (
	mergeTag = "!!merge"
	nullTag  = "!!null"
)

// isEmpty reports whether a value is left out, as in "set:".
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0 && n.Tag == nullTag
}

// The keys whose values are no strings in a conflist.
func isNumberKey(key string) bool { return key == "probeCount" || key == "above" }
func isBoolKey(key string) bool   { return key == "loopback" || key == "askSigpipe" }

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,17})$`)

// json appends the JSON of a value, as policy.ParseLayer reads it, and notes the places of all values. key is the key that has
// the value. Scalars are strings, whatever YAML takes them for, except where a conflist has a number or a boolean.
func (p *parser) json(to []byte, n *yaml.Node, at, key string, depth int) []byte {
	if _, ok := p.places[at]; !ok {
		p.places[at] = placeOf(n)
	}
	if !p.check(n, at, depth) {
		return append(to, "null"...)
	}
	switch n.Kind {
	case yaml.MappingNode:
		to = append(to, '{')
		first := true
		p.eachField(n, at, func(key, value *yaml.Node, child string) {
			if !first {
				to = append(to, ',')
			}
			first = false
			p.places[child] = placeOf(key)
			to = appendString(to, key.Value)
			to = append(to, ':')
			to = p.json(to, value, child, key.Value, depth+1)
		})
		return append(to, '}')
	case yaml.SequenceNode:
		to = append(to, '[')
		for i, value := range n.Content {
			if i > 0 {
				to = append(to, ',')
			}
			to = p.json(to, value, policy.IndexPath(at, i), "", depth+1)
		}
		return append(to, ']')
	case yaml.ScalarNode:
		switch {
		case isEmpty(n):
			return append(to, "null"...)
		case isNumberKey(key) && wholeNumber.MatchString(n.Value), isBoolKey(key) && (n.Value == "true" || n.Value == "false"):
			return append(to, n.Value...)
		}
		return appendString(to, n.Value)
	}
	return append(to, "null"...) // no other kind is left
}

// appendString appends a JSON string.
func appendString(to []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // no string has an error
		return append(to, `""`...)
	}
	return append(to, text...)
}

// describe returns the type of a value in words.
func describe(n *yaml.Node) string {
	switch {
	case isEmpty(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	}
	return "the text " + safetext.Quote(n.Value, maxQuoted)
}
