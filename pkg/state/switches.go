// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/halfclose/halfclose/pkg/policy"
)

// Scope selects the attachments that a switch caps: those of a namespace, of a pod, or of a container that no pod has. The
// zero Scope is the whole node.
type Scope struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"` // a pod's name in Namespace
	// ID is a container ID, its first 12 characters, or the name of a registration by hand. Then the others are empty.
	ID string `json:"id,omitempty"`
}

// ParseScope parses what an operator calls a pod: namespace/name, or a container ID or registration's name.
func ParseScope(pod string) (Scope, error) {
	s := Scope{ID: pod}
	if namespace, name, ok := strings.Cut(pod, "/"); ok {
		s = Scope{Namespace: namespace, Pod: name}
	}
	if pod == "" || s.Namespace == "" && s.ID == "" || s.ID == "" && s.Pod == "" {
		return Scope{}, fmt.Errorf("%.80q: want namespace/name, a container ID, or the name of a registration", pod)
	}
	return s, s.Check()
}

// maxScopeBytes bounds each name in a scope. A name in Kubernetes has at most 253 bytes.
const maxScopeBytes = 256

// Check returns an error if no attachment can be in the scope.
func (s Scope) Check() error {
	switch {
	case s.ID != "" && (s.Namespace != "" || s.Pod != ""):
		return errors.New("a scope with an id has no namespace and no pod")
	case s.Pod != "" && s.Namespace == "":
		return fmt.Errorf("pod %.80q without a namespace", s.Pod)
	}
	for _, name := range []string{s.Namespace, s.Pod, s.ID} {
		switch {
		case len(name) > maxScopeBytes:
			return fmt.Errorf("name %.20q... has %d bytes, more than the limit of %d", name, len(name), maxScopeBytes)
		case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }):
			return fmt.Errorf("name %.80q: want printable characters without a slash", name)
		}
	}
	return nil
}

// IsNode reports whether the scope is the whole node.
func (s Scope) IsNode() bool { return s == Scope{} }

// ScopeName returns the scope in words, such as "pod shop/web". It is not safe to show: see package safetext.
func (s Scope) ScopeName() string {
	switch {
	case s.ID != "":
		return "container " + s.ID
	case s.Pod != "":
		return "pod " + s.Namespace + "/" + s.Pod
	case s.Namespace != "":
		return "namespace " + s.Namespace
	}
	return "this node"
}

// Covers reports whether the scope has the attachments of a container.
func (s Scope) Covers(pod Pod, containerID string) bool {
	return s.IsNode() || slices.Contains(scopesOf(pod, containerID), s)
}

// shortID is the length of a container ID as other tools shorten it.
const shortID = 12

// scopesOf lists the scopes that a container is in, except for the node.
func scopesOf(pod Pod, containerID string) []Scope {
	var list []Scope
	if pod.Namespace != "" {
		list = append(list, Scope{Namespace: pod.Namespace})
		if pod.Name != "" {
			list = append(list, Scope{Namespace: pod.Namespace, Pod: pod.Name})
		}
	}
	if containerID != "" {
		list = append(list, Scope{ID: containerID})
	}
	if len(containerID) > shortID {
		list = append(list, Scope{ID: containerID[:shortID]})
	}
	return list
}

// Switches are the switches of a node: at most one for each scope.
type Switches struct {
	Node   *Switch  // nil if it is not set
	Scoped []Switch // of pods, namespaces and containers, sorted; at most MaxScoped
}

// MaxScoped is the largest number of switches besides the node's.
const MaxScoped = 1000

// At returns the switches that are in force at a time of the wall clock.
func (s Switches) At(now time.Time) Switches {
	var in Switches
	if s.Node != nil && s.Node.InForce(now) {
		in.Node = s.Node
	}
	for _, sw := range s.Scoped {
		if sw.InForce(now) {
			in.Scoped = append(in.Scoped, sw)
		}
	}
	return in
}

// Of returns the switch of a scope, and whether there is one.
func (s Switches) Of(scope Scope) (Switch, bool) {
	if scope.IsNode() {
		if s.Node == nil {
			return Switch{}, false
		}
		return *s.Node, true
	}
	i, ok := slices.BinarySearchFunc(s.Scoped, scope, func(sw Switch, scope Scope) int { return compareScopes(sw.Scope, scope) })
	if !ok {
		return Switch{}, false
	}
	return s.Scoped[i], true
}

// For lists the switches that cap a container, except for the node's: at most four.
func (s Switches) For(pod Pod, containerID string) []Switch {
	if len(s.Scoped) == 0 {
		return nil
	}
	var list []Switch
	for _, scope := range scopesOf(pod, containerID) {
		if sw, ok := s.Of(scope); ok {
			list = append(list, sw)
		}
	}
	return list
}

// With returns the switches with one set. A switch to destroy caps nothing: it is stored for the node alone, as a trace of
// who lifted the cap.
func (s Switches) With(sw Switch) Switches {
	if sw.IsNode() {
		return Switches{Node: &sw, Scoped: s.Scoped}
	}
	out := Switches{Node: s.Node, Scoped: slices.DeleteFunc(slices.Clone(s.Scoped), func(o Switch) bool { return o.Scope == sw.Scope })}
	if sw.Mode != policy.Destroy {
		out.Scoped = append(out.Scoped, sw)
		slices.SortFunc(out.Scoped, func(a, b Switch) int { return compareScopes(a.Scope, b.Scope) })
	}
	return out
}

func compareScopes(a, b Scope) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.ID, b.ID))
}

// switchesKey is the key of the switches besides the node's, whose keys are on the same level.
const switchesKey = "switches"

// errNoMode is the error of a switch without a mode. The zero Mode is off, but no operator has set the switch to it.
var errNoMode = errors.New("no mode")

// decodeSwitches parses the file of the switches. Keys are case-sensitive, and none may be repeated. An unknown key, of a
// later version, may be more conservative than the known ones. That matters only where these leave a socket to be
// destroyed, now or after the node's switch has ended. With an error it returns the switches that it could read.
func decodeSwitches(data []byte) (Switches, error) {
	if !json.Valid(data) { // Unmarshal's error has the position
		return Switches{}, json.Unmarshal(data, new(any))
	}
	var (
		s    Switches
		node Switch
		list []json.RawMessage
		keys = node.keys()
	)
	delete(keys, "namespace")
	delete(keys, "pod")
	delete(keys, "id")
	keys[switchesKey] = &list
	unknown, err := decodeObject(data, keys)
	switch {
	case err != nil:
		return Switches{}, err
	case node.Mode != 0:
		s.Node = &node
	case list == nil || node != (Switch{}):
		return Switches{}, errNoMode
	}
	if unknown != nil && (s.Node == nil || node.Mode == policy.Destroy || !node.Until.IsZero()) {
		return s, unknown
	}
	return s, s.decodeScoped(list)
}

// decodeScoped parses the switches besides the node's.
func (s *Switches) decodeScoped(list []json.RawMessage) error {
	if len(list) > MaxScoped {
		return fmt.Errorf("%d switches, more than the limit of %d", len(list), MaxScoped)
	}
	var problem error
	seen := make(map[Scope]bool, len(list))
	for i, raw := range list {
		var sw Switch
		unknown, err := decodeObject(raw, sw.keys())
		switch {
		case err != nil:
		case sw.Mode == 0:
			err = errNoMode
		case sw.IsNode():
			err = errors.New("no namespace, pod or id")
		default:
			err = sw.Check()
		}
		if seen[sw.Scope] && err == nil {
			err = fmt.Errorf("%s occurs more than once", sw.ScopeName())
		}
		if err == nil {
			seen[sw.Scope] = true
			s.Scoped, err = append(s.Scoped, sw), unknown
		}
		if err != nil && problem == nil {
			problem = fmt.Errorf("%s[%d]: %w", switchesKey, i, err)
		}
	}
	slices.SortFunc(s.Scoped, func(a, b Switch) int { return compareScopes(a.Scope, b.Scope) })
	return problem
}

// keys returns the keys of a switch in a file, with the places of their values.
func (s *Switch) keys() map[string]any {
	return map[string]any{
		"namespace": &s.Namespace, "pod": &s.Pod, "id": &s.ID,
		"mode": &s.Mode, "who": &s.Who, "when": &s.When, "until": &s.Until, "reason": &s.Reason,
	}
}

// decodeObject decodes the known keys of a JSON object. The first error is of an unknown key, the second of any other
// mistake.
func decodeObject(data []byte, known map[string]any) (unknown, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var seen []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		if slices.Contains(seen, key) {
			return nil, fmt.Errorf("%.80q occurs more than once", key)
		}
		seen = append(seen, key)
		to, ok := known[key]
		if !ok {
			to, unknown = new(any), fmt.Errorf("unknown key %.80q: a newer version of halfclose may have written it", key)
		}
		if err := dec.Decode(to); err != nil {
			return nil, fmt.Errorf("%.80q: %w", key, err)
		}
	}
	return unknown, nil
}

// maxSwitchSize bounds the file in bytes, for reading and for writing.
const maxSwitchSize = 1 << 20

// encodeSwitches returns the content of the file.
func encodeSwitches(s Switches) ([]byte, error) {
	type scoped struct {
		Switches []Switch `json:"switches"`
	}
	var content any = scoped{append([]Switch{}, s.Scoped...)} // never null
	if s.Node != nil {
		content = struct {
			Switch
			Switches []Switch `json:"switches,omitempty"`
		}{*s.Node, s.Scoped}
	}
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	if len(data) > maxSwitchSize {
		return nil, fmt.Errorf("the switches have %d bytes, more than the limit of %d", len(data), maxSwitchSize)
	}
	return data, nil
}
