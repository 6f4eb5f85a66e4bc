// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package apitest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// CheckJSONOf compares printed JSON with v as encoding/json writes it. The tests of pkg/admin pin the names of the fields.
func CheckJSONOf(t testing.TB, printed string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decode(t, string(b)), decode(t, printed)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// CheckJSON compares every leaf of a printed, indented JSON object with want, by its path.
func CheckJSON(t testing.TB, printed string, want map[string]any) {
	t.Helper()
	if !strings.HasPrefix(printed, "{\n  \"") {
		t.Errorf("it is not an indented object:\n%s", printed)
	}
	got := make(map[string]any)
	flatten(got, "", decode(t, printed))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func decode(t testing.TB, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return v
}

// flatten adds the leaves of v to leaves. Empty lists and objects are leaves.
func flatten(leaves map[string]any, path string, v any) {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			flatten(leaves, join(name), member)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, member := range v {
			flatten(leaves, join(fmt.Sprint(i)), member)
		}
		if len(v) > 0 {
			return
		}
	}
	leaves[path] = v
}
