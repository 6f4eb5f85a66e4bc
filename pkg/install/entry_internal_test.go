// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func entry(t testing.TB, object string) Entry {
	t.Helper()
	e, problems := NewEntry([]byte(object))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}

func TestAnEntryIsWhatADDAccepts(t *testing.T) {
	for name, tt := range map[string]struct {
		object, want string
		problems     []string
	}{
		"an empty object": {`{}`, `{"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`, nil},
		"the order and comments stay": {
			`{"grace": "5m", "_why": "leaks", "mode": "observe"}`,
			`{"type":"halfclose","grace":"5m","_why":"leaks","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`, nil,
		},
		"capabilities stay":       {`{"capabilities": {}}`, `{"type":"halfclose","capabilities":{}}`, nil},
		"the type stays in place": {`{"capabilities": {}, "type": "halfclose"}`, `{"capabilities":{},"type":"halfclose"}`, nil},
		"every problem": {
			`{"graze": "1m", "mode": "obsrve", "exempt": [{"loopback": 1}]}`, "",
			[]string{
				`$.graze: unknown key, did you mean "grace"?`,
				`$.mode: unknown mode "obsrve", did you mean "observe"?`,
				`$.exempt[0].loopback: want true, got the number 1`,
			},
		},
		"another type":        {`{"type": "tuning"}`, "", []string{`$.type: want "halfclose" or no type`}},
		"a key of CNI, twice": {`{"capabilities": {}, "capabilities": {}}`, "", []string{`$.capabilities: occurs more than once`}},
		"no object":           {`[]`, "", []string{`$: want an object, got a list`}},
		"no JSON":             {`mode: observe`, "", []string{`$: not JSON: invalid character 'm' looking for beginning of value`}},
		"a comment":           {"{} // x", "", []string{`$: not JSON: invalid character '/' after top-level value`}},
	} {
		t.Run(name, func(t *testing.T) {
			e, problems := NewEntry([]byte(tt.object))
			if diff := cmp.Diff(tt.problems, problems.Strings()); diff != "" {
				t.Errorf("problems (-want +got)\n%s", diff)
			}
			if e.String() != tt.want {
				t.Errorf("got  %s\nwant %s", e, tt.want)
			}
		})
	}
}
