// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

// FuzzSplice checks that a runtime reads our entry once in every conflist that is accepted, and everything else unchanged.
func FuzzSplice(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"}]}`,
		"{\n  \"name\": \"a\",\n  \"plugins\": [\n    {\n      \"type\": \"b\"\n    } , {\n \"type\": \"halfclose\"}\n  ],\n  \"x\": [1, 2.50]\n}\n",
		`{"name":"a","plugins":[{"type":"halfclose"},{"type":"b"},{"type":"halfclose","mode":"off"},{"Type":"halfclose"}]}`,
		`{"name":"a","plugins":[{}, {"type":"b","type":"c"}],"name":"b"}`,
		"{\"name\":\"a\",\"plugins\":[{\r\n\t\"type\" : \"b\"\r\n\t}\r\n]}",
		`{"name":"a","type":"ptp","cniVersion":"0.3.1"}`,
	} {
		f.Add([]byte(seed), `{"mode":"observe","exempt":[{"loopback":true}]}`)
		f.Add([]byte(seed), `{}`)
	}
	f.Fuzz(func(t *testing.T, before []byte, object string) {
		e, problems := NewEntry([]byte(object))
		if len(problems) > 0 {
			return
		}
		checkAdd(t, before, e)
		if after, err := listOf(before, nil, e); err == nil {
			checkOnce(t, after, e)
		}
	})
}

func checkAdd(t *testing.T, before []byte, e Entry) {
	t.Helper()
	after, err := addEntry(before, e)
	if err != nil {
		return
	}
	checkOnce(t, after, e)
	if !reflect.DeepEqual(foreign(t, before), foreign(t, after)) {
		t.Errorf("more than our entry changed\nfrom %s\nto   %s", before, after)
	}
	if again, err := addEntry(after, e); err != nil || string(again) != string(after) {
		t.Errorf("a second addition changes it (%v)\nfrom %s\nto   %s", err, after, again)
	}
	out, err := removeEntry(after)
	if err != nil {
		t.Fatalf("the removal from %s fails: %v", after, err)
	}
	clean, err := removeEntry(before)
	if err == nil && string(clean) == string(before) && string(out) != string(before) { // it had no entry
		t.Errorf("addition and removal change it\nfrom %s\nto   %s", before, out)
	}
	if !reflect.DeepEqual(foreign(t, before), foreign(t, out)) {
		t.Errorf("the removal changes more than our entry\nfrom %s\nto   %s", before, out)
	}
}

// checkOnce fails unless a runtime reads our entry once in a conflist, after another plugin.
func checkOnce(t *testing.T, data []byte, e Entry) {
	t.Helper()
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		t.Fatalf("no runtime can load %s: %v", data, err)
	}
	n := 0
	for i, p := range list.Plugins {
		if p.Network.Type != "halfclose" {
			continue
		}
		n++
		if i == 0 || !e.equals(p.Bytes) {
			t.Errorf("plugin %d is %s, want %s after another plugin", i, p.Bytes, e)
		}
	}
	if n != 1 {
		t.Errorf("%d entries of ours in %s", n, data)
	}
}

// foreign returns the content of a conflist without our entries.
func foreign(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	var others []any
	for i, p := range all["plugins"].([]any) {
		if list.Plugins[i].Network.Type != "halfclose" {
			others = append(others, p)
		}
	}
	all["plugins"] = others
	return all
}
