// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/policy"
)

// The keys of an entry that are not the policy's.
const (
	keyType         = "type"
	keyCapabilities = "capabilities"
)

// Entry is the plugin's object in a network configuration. NewEntry makes one.
type Entry struct {
	text []byte // compact JSON
}

// NewEntry makes the entry of a JSON object that holds the keys of the policy, in the order in which they stand.
// The type comes first if the object has none, and the capability by which a runtime hands over a pod's
// annotations comes last if the object says nothing of capabilities. Everything that the plugin's ADD would
// complain of is a problem, and there is no entry with one.
func NewEntry(object []byte) (Entry, policy.Problems) {
	_, problems := policy.ParseNetwork(object)
	var value hujson.Value
	if len(problems) == 0 {
		var err error
		if value, err = hujson.Parse(object); err != nil {
			problems = policy.Problems{{Path: "$", Message: err.Error()}}
		}
	}
	obj, ok := value.Value.(*hujson.Object)
	if len(problems) > 0 || !ok {
		return Entry{}, problems
	}
	member := func(key string, value hujson.ValueTrimmed) hujson.ObjectMember {
		return hujson.ObjectMember{Name: hujson.Value{Value: hujson.String(key)}, Value: hujson.Value{Value: value}}
	}
	if key, twice := repeated(obj); twice {
		problems = append(problems, policy.Problem{Path: "$." + key, Message: "given more than once"})
	}
	switch m := find(obj, keyType); {
	case m == nil:
		obj.Members = append([]hujson.ObjectMember{member(keyType, hujson.String(spec.PluginType))}, obj.Members...)
	case !isString(m.Value, spec.PluginType):
		problems = append(problems, policy.Problem{Path: "$." + keyType, Message: fmt.Sprintf("want %q, or no type at all", spec.PluginType)})
	}
	if find(obj, keyCapabilities) == nil {
		obj.Members = append(obj.Members, member(keyCapabilities, &hujson.Object{Members: []hujson.ObjectMember{
			member(policy.CapabilityPodAnnotations, hujson.Bool(true)),
		}}))
	}
	if len(problems) > 0 {
		return Entry{}, problems
	}
	value.Minimize()
	return Entry{text: value.Pack()}, nil
}

// String returns the entry as compact JSON.
func (e Entry) String() string { return string(e.text) }

// MarshalJSON returns the entry as it is, and null for none.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.text == nil {
		return []byte("null"), nil
	}
	return e.text, nil
}

// startsReaper reports whether the entry leaves it to the plugin to start a reaper.
func (e Entry) startsReaper() bool {
	if e.text == nil {
		return false
	}
	network, _ := policy.ParseNetwork(e.text)
	return network.Reaper == policy.Auto
}

// says reports whether another object says the same, however it is written.
func (e Entry) says(other []byte) bool {
	var a, b any
	if json.Unmarshal(e.text, &a) != nil || json.Unmarshal(other, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// find returns the member of that name; nil if there is none.
func find(obj *hujson.Object, key string) *hujson.ObjectMember {
	for i := range obj.Members {
		if isString(obj.Members[i].Name, key) {
			return &obj.Members[i]
		}
	}
	return nil
}

func isString(v hujson.Value, s string) bool {
	literal, ok := v.Value.(hujson.Literal)
	return ok && literal.Kind() == '"' && literal.String() == s
}

// repeated returns the first key of an object that is given more than once.
func repeated(obj *hujson.Object) (string, bool) {
	seen := make(map[string]bool, len(obj.Members))
	for _, m := range obj.Members {
		key := m.Name.Value.(hujson.Literal).String()
		if seen[key] {
			return key, true
		}
		seen[key] = true
	}
	return "", false
}

// text returns a value as it is written, without what is around it.
func text(v hujson.Value) []byte {
	return bytes.Clone(hujson.Value{Value: v.Value}.Pack())
}
