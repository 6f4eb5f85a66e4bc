// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

func TestTheEntryIsAddedAndRemovedAgain(t *testing.T) {
	const object = `{"mode": "observe"}`
	const ours = `{"type":"halfclose","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`
	for name, tt := range map[string]struct{ before, after string }{
		"on several lines": {
			before: bridgeList, after: bridgeAndOurs,
		},
		"on one line": {
			before: `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},{"type":"tuning"}]}`,
			after:  `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},{"type":"tuning"},` + ours + `]}`,
		},
		"one line for each plugin": {
			before: "{\"name\": \"pods\", \"cniVersion\": \"1.0.0\", \"plugins\": [\n\t{\"type\": \"bridge\", \"mtu\": 1500},\n\t{\"type\": \"tuning\"}\n]}",
			after:  "{\"name\": \"pods\", \"cniVersion\": \"1.0.0\", \"plugins\": [\n\t{\"type\": \"bridge\", \"mtu\": 1500},\n\t{\"type\": \"tuning\"},\n\t" + ours + "\n]}",
		},
		"with the list before other keys": {
			before: "{\n\t\"plugins\": [{\n\t\t\"type\": \"bridge\"\n\t}],\n\t\"name\": \"pods\",\n\t\"cniVersion\": \"0.3.1\"\n}",
			after:  "{\n\t\"plugins\": [{\n\t\t\"type\": \"bridge\"\n\t}," + ours + "],\n\t\"name\": \"pods\",\n\t\"cniVersion\": \"0.3.1\"\n}",
		},
		"with carriage returns": {
			before: "{\r\n  \"cniVersion\": \"1.0.0\",\r\n  \"name\": \"pods\",\r\n  \"plugins\": [\r\n    {\"type\": \"bridge\"}\r\n  ]\r\n}\r\n",
			after:  "{\r\n  \"cniVersion\": \"1.0.0\",\r\n  \"name\": \"pods\",\r\n  \"plugins\": [\r\n    {\"type\": \"bridge\"},\r\n    " + ours + "\r\n  ]\r\n}\r\n",
		},
		"with unusual spaces, numbers and escapes": {
			before: ` { "name" :"pods" , "cniVersion":"1.0.0","x": 1.0e3, "plugins":[ { "type":"bri\u0064ge" , "n":10000000000000000001 } ] , "_note": "\u00e9\/" } `,
			after: ` { "name" :"pods" , "cniVersion":"1.0.0","x": 1.0e3, "plugins":[ { "type":"bri\u0064ge" , "n":10000000000000000001 }, ` + ours +
				` ] , "_note": "\u00e9\/" } `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := entry(t, object)
			after, err := addEntry([]byte(tt.before), e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.after, string(after)); diff != "" {
				t.Errorf("with the entry (-want +got)\n%s", diff)
			}
			again, err := addEntry(after, e)
			if err != nil || string(again) != string(after) {
				t.Errorf("a second addition changes it: %v\n%s", err, again)
			}
			out, err := removeEntry(after)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.before, string(out)); diff != "" {
				t.Errorf("after the removal (-want +got)\n%s", diff)
			}
			list, err := libcni.NetworkConfFromBytes(after)
			if err != nil {
				t.Fatal(err)
			}
			last := list.Plugins[len(list.Plugins)-1]
			if !e.equals(last.Bytes) || !last.Network.Capabilities["io.kubernetes.cri.pod-annotations"] {
				t.Errorf("libcni reads %s", last.Bytes)
			}
		})
	}
}

func TestAnExistingEntryIsUpdatedInPlace(t *testing.T) {
	const (
		head  = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},`
		want  = `{"type":"halfclose","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`
		other = `{"type":"halfclose","mode":"destroy"}`
		istio = `{"type":"istio-cni"}`
	)
	for name, tt := range map[string]struct{ before, after string }{
		"with other values":                     {head + other + `]}`, head + want + `]}`},
		"before another plugin":                 {head + other + `,` + istio + `]}`, head + want + `,` + istio + `]}`},
		"twice":                                 {head + want + `,` + want + `]}`, head + want + `]}`},
		"twice, both old":                       {head + other + `,` + istio + `,` + other + `]}`, head + want + `,` + istio + `]}`},
		"three times, with another plugin last": {head + other + `,` + want + `,` + other + `,` + istio + `]}`, head + want + `,` + istio + `]}`},
		"with a key in another case, which a runtime accepts": {
			head + `{"Type":"halfclose"}` + `]}`, head + want + `]}`,
		},
		"as the first plugin, which makes every ADD fail": {
			`{"cniVersion":"1.0.0","name":"pods","plugins":[` + want + `,{"type":"bridge"}]}`, head + want + `]}`,
		},
		"as the first and the last plugin": {
			`{"cniVersion":"1.0.0","name":"pods","plugins":[` + other + `,{"type":"bridge"},` + want + `]}`, head + want + `]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := addEntry([]byte(tt.before), entry(t, `{"mode":"observe"}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.after, string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			out, err := removeEntry([]byte(tt.before))
			if err != nil || strings.Contains(string(out), "halfclose") {
				t.Errorf("after the removal: %v\n%s", err, out)
			}
		})
	}
}

func TestAnEqualEntryKeepsItsText(t *testing.T) {
	before := `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},
  {"capabilities": {"io.kubernetes.cri.pod-annotations": true}, "mode": "obser\u0076e",
   "type": "halfclose"}]}`
	got, err := addEntry([]byte(before), entry(t, `{"mode":"observe"}`))
	if err != nil || string(got) != before {
		t.Errorf("got %v\n%s", err, got)
	}
}

func TestAnInvalidOrAmbiguousConflistIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ data, wantErr string }{
		"nothing":                            {"", "unexpected end of JSON input"},
		"half of one":                        {`{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"br`, "unexpected end of JSON input"},
		"two of them":                        {`{"name":"a","plugins":[{"type":"b"}]}{}`, "after top-level value"},
		"a comment":                          {"{\"name\":\"a\",// b\n\"plugins\":[{\"type\":\"b\"}]}", "invalid character '/'"},
		"a trailing comma":                   {`{"name":"a","plugins":[{"type":"b"},]}`, "invalid character ']'"},
		"no object":                          {`[]`, "cannot unmarshal array"},
		"no name":                            {`{"plugins":[{"type":"b"}]}`, "no name"},
		"no plugins":                         {`{"name":"a"}`, "--drop-in"},
		"an empty list of plugins":           {`{"name":"a","plugins":[]}`, "no plugins in list"},
		"plugins that are no list":           {`{"name":"a","plugins":{"type":"b"}}`, "invalid 'plugins' type"},
		"a plugin that is no object":         {`{"name":"a","plugins":["b"]}`, "plugin config 0"},
		"a plugin without a type":            {`{"name":"a","plugins":[{"typ":"b"}]}`, "missing 'type'"},
		"a type that is no text":             {`{"name":"a","plugins":[{"type":1}]}`, "plugin config 0"},
		"two lists of plugins":               {`{"name":"a","plugins":[{"type":"b"}],"plugins":[{"type":"c"}]}`, `its key "plugins" occurs more than once`},
		"the same key with another spelling": {`{"name":"a","n\u0061me":"b","plugins":[{"type":"b"}]}`, `its key "name" occurs more than once`},
		"a plugin of two types":              {`{"name":"a","plugins":[{"type":"b"},{"type":"c","type":"halfclose"}]}`, `the key "type" of plugin 1 occurs more than once`},
		"only ours":                          {`{"name":"a","plugins":[{"type":"halfclose"}]}`, "no plugin except halfclose"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := addEntry([]byte(tt.data), entry(t, `{}`))
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %q and %v, want an error with %q", got, err, tt.wantErr)
			}
			if got, err := removeEntry([]byte(tt.data)); err == nil {
				t.Errorf("the entry was removed: %q", got)
			}
		})
	}
}
