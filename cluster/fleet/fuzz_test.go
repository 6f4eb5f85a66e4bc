// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/halfclose/halfclose/cluster/fleet"
)

// FuzzReadObject reads any output of a node's program.
func FuzzReadObject(f *testing.F) {
	for _, s := range []string{
		`{"sockets": [{"a": 1}, [], null, "x"], "staleSeconds": 1.5}`, `{"sockets": null}`, `{"sockets": {}}`, `{"sockets": [1`, `{} {}`, `[]`,
		`{"sockets": [1], "sockets": [2], "a": 1, "a": 2}`,
	} {
		f.Add([]byte(s), "sockets")
		f.Add([]byte(s), "")
	}
	f.Fuzz(func(t *testing.T, data []byte, list string) {
		rest, err := fleet.ReadObject(bytes.NewReader(data), list, func(item json.RawMessage) error {
			if !json.Valid(item) {
				t.Errorf("element %q is no JSON", item)
			}
			return nil
		})
		if (rest == nil) != (err != nil) {
			t.Fatalf("%v, %v", rest, err)
		}
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("%q is accepted", data)
		}
		if _, ok := rest[list]; ok && list != "" {
			t.Errorf("the list %q is among the rest", list)
		}
	})
}
