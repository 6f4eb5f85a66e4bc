// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
)

// FuzzMembers compares the members of an object with those of encoding/json.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `{"a":"b"}`, `{"a" : 1 , "b":[{"c":"}]"}, 2],"c":{"d":[]},"e":null}`, "{\n\t\"a\" :\t\"x\"\r\n, \"b\": -1e3\n}",
		`{"a\\":"\\\"","\u0061\"":"\\\\","ü":"\ud800"}`, `{"a":1,"a":"2"}`, "{\"\xff\":\"\xff\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw json.RawMessage
		if json.Unmarshal(text, &raw) != nil || raw[0] != '{' {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Skip(err) // nested too deeply
		}
		got := map[string]json.RawMessage{}
		for key, value := range members(raw) {
			got[unquoted(key)] = value
			if value[0] == '"' {
				var s string
				if err := json.Unmarshal(value, &s); err != nil || unquoted(value) != s {
					t.Errorf("%s is read as %q, want %q, %v", value, unquoted(value), s, err)
				}
			}
		}
		if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("%q\nis read as %q\nwant      %q", raw, got, want)
		}
	})
}
