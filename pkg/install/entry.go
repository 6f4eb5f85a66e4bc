// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/policy"
)

// The keys of an entry that are not the policy's.
const (
	keyType         = "type"
	keyCapabilities = "capabilities"
)

// Entry is the plugin's object in a network configuration. Create one with NewEntry.
type Entry struct {
	text []byte // compact JSON
}

// NewEntry creates an entry from a JSON object with the keys of a policy, whose order it keeps. It prepends the type, and
// appends the capability with which a runtime passes a pod's annotations, unless the object has them. Every mistake that
// the plugin's ADD would report is a problem; with a problem the entry is empty.
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
	if key, found := duplicateKey(obj); found {
		problems = append(problems, policy.Problem{Path: "$." + key, Message: "occurs more than once"})
	}
	switch m := find(obj, keyType); {
	case m == nil:
		obj.Members = append([]hujson.ObjectMember{member(keyType, hujson.String(spec.PluginType))}, obj.Members...)
	case !isString(m.Value, spec.PluginType):
		problems = append(problems, policy.Problem{Path: "$." + keyType, Message: fmt.Sprintf("want %q or no type", spec.PluginType)})
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

// startsReaper reports whether the plugin is to start a reaper.
func (e Entry) startsReaper() bool {
	if e.text == nil {
		return false
	}
	network, _ := policy.ParseNetwork(e.text)
	return network.Reaper == policy.Auto
}

// equals reports whether another object has the same keys and values, in any order and spelling.
func (e Entry) equals(other []byte) bool {
	var a, b any
	if json.Unmarshal(e.text, &a) != nil || json.Unmarshal(other, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// lacks returns the keys of other objects that the entry does not have, sorted.
func (e Entry) lacks(others [][]byte) (keys []string) {
	var own map[string]json.RawMessage
	if json.Unmarshal(e.text, &own) != nil {
		return nil
	}
	for _, other := range others {
		var members map[string]json.RawMessage
		if json.Unmarshal(other, &members) != nil {
			continue
		}
		for key := range members {
			if _, ok := own[key]; !ok {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// find returns the member of that name, or nil.
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

// duplicateKey returns the first key that an object has more than once.
func duplicateKey(obj *hujson.Object) (string, bool) {
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

// text returns the text of a value without the white space around it.
func text(v hujson.Value) []byte {
	return bytes.Clone(hujson.Value{Value: v.Value}.Pack())
}
