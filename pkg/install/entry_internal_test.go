// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
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

func TestAnEntryIsWhatADDTakes(t *testing.T) {
	for name, tt := range map[string]struct {
		object, want string
		problems     []string
	}{
		"nothing said": {`{}`, `{"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`, nil},
		"the order stays, comments too": {
			`{"grace": "5m", "_why": "leaks", "mode": "observe"}`,
			`{"type":"halfclose","grace":"5m","_why":"leaks","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`, nil,
		},
		"capabilities as they are said": {`{"capabilities": {}}`, `{"type":"halfclose","capabilities":{}}`, nil},
		"its type where it stands":      {`{"capabilities": {}, "type": "halfclose"}`, `{"capabilities":{},"type":"halfclose"}`, nil},
		"every problem": {
			`{"graze": "1m", "mode": "obsrve", "exempt": [{"loopback": 1}]}`, "",
			[]string{
				`$.graze: unknown key, did you mean "grace"?`,
				`$.mode: unknown mode "obsrve", did you mean "observe"?`,
				`$.exempt[0].loopback: want true, got the number 1`,
			},
		},
		"another type":                  {`{"type": "tuning"}`, "", []string{`$.type: want "halfclose", or no type at all`}},
		"a key that is not ours, twice": {`{"capabilities": {}, "capabilities": {}}`, "", []string{`$.capabilities: given more than once`}},
		"no object":                     {`[]`, "", []string{`$: want an object, got a list`}},
		"no JSON":                       {`mode: observe`, "", []string{`$: not JSON: invalid character 'm' looking for beginning of value`}},
		"a comment":                     {"{} // x", "", []string{`$: not JSON: invalid character '/' after top-level value`}},
	} {
		t.Run(name, func(t *testing.T) {
			e, problems := NewEntry([]byte(tt.object))
			if diff := cmp.Diff(tt.problems, problems.Strings()); diff != "" {
				t.Errorf("problems (-want +got)\n%s", diff)
			}
			if e.String() != tt.want {
				t.Errorf("got  %s\nwant %s", e, tt.want)
			}
			if tt.want != "" {
				if data, err := json.Marshal(e); err != nil || string(data) != tt.want {
					t.Errorf("as JSON %s, %v", data, err)
				}
			}
		})
	}
}
