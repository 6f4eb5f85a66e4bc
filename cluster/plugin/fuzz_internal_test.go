// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/printer"
)

// FuzzAnAnswerOfANodeIsReadOrRefused reads any output of halfclose on a node as the answer to each command.
func FuzzAnAnswerOfANodeIsReadOrRefused(f *testing.F) {
	for _, v := range []any{api.Status{}, printer.Explanation{}, printer.ModeReport{}, map[string]any{"sockets": []api.SocketView{{}}, "omitted": 1, "problems": []string{"x"}}} {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"sockets": [{"age": "1"}, 7], "oldestSeconds": 1e300, "candidates": {"CLOSE_WAIT": -1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := fleet.Agent{Node: "n"}
		if s, err := readReaper(a, bytes.NewReader(data)); err == nil {
			var sum totals
			sum.add(&s.Status)
			if !json.Valid(s.raw) {
				t.Errorf("status %q", s.raw)
			}
		}
		_, _ = readExplained(a, bytes.NewReader(data))
		_, _ = readMode(a, bytes.NewReader(data))
		l, err := readList[api.SocketView]("sockets", 2)(a, bytes.NewReader(data))
		if err == nil && (len(l.items) > 2 || l.omitted < 0) {
			t.Errorf("%d elements, %d omitted", len(l.items), l.omitted)
		}
		_, _, _ = l.problems(), l.number("omitted"), l.stale()
	})
}
