// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

// FuzzSplice holds any conflist that is taken to what a runtime reads in it: our entry once, and all else as it was.
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
		if after, err := fromConf(before, nil, e); err == nil {
			checkOnce(t, after, e)
		}
	})
}

func checkAdd(t *testing.T, before []byte, e Entry) {
	t.Helper()
	after, err := add(before, e)
	if err != nil {
		return
	}
	checkOnce(t, after, e)
	if !reflect.DeepEqual(foreign(t, before), foreign(t, after)) {
		t.Errorf("more than our entry changed\nfrom %s\nto   %s", before, after)
	}
	if again, err := add(after, e); err != nil || string(again) != string(after) {
		t.Errorf("what is as it should be changed (%v)\nfrom %s\nto   %s", err, after, again)
	}
	out, err := remove(after)
	if err != nil {
		t.Fatalf("it does not come out of %s: %v", after, err)
	}
	clean, err := remove(before)
	if err == nil && string(clean) == string(before) && string(out) != string(before) { // it had none of ours
		t.Errorf("in and out again is not the same\nfrom %s\nto   %s", before, out)
	}
	if !reflect.DeepEqual(foreign(t, before), foreign(t, out)) {
		t.Errorf("taken out with more than our entry\nfrom %s\nto   %s", before, out)
	}
}

// checkOnce fails unless a runtime reads our entry once in a conflist, behind another plugin.
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
		if i == 0 || !e.says(p.Bytes) {
			t.Errorf("plugin %d is %s, want it behind another, and %s", i, p.Bytes, e)
		}
	}
	if n != 1 {
		t.Errorf("%d entries of ours in %s", n, data)
	}
}

// foreign is all that a conflist says but for our entries.
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
