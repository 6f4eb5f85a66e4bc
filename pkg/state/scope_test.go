// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"encoding/json"
	"testing"

	"github.com/halfclose/halfclose/pkg/state"
)

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"shop/cart-0", "0a1b2c3d4e5f", "/", "a/", "/b", "a/b/c", "", "\x00", "é/ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := state.ParseScope(text)
		if err != nil {
			return
		}
		back := s.ID
		if s.Pod != "" {
			back = s.Namespace + "/" + s.Pod
		}
		if back != text || s.Check() != nil {
			t.Errorf("%q is the scope %+v (%v)", text, s, s.Check())
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again state.Scope
		if err := json.Unmarshal(data, &again); err != nil || again != s {
			t.Errorf("%s is read back as %+v, %v", data, again, err)
		}
	})
}
