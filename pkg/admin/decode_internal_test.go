// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
)

// FuzzAListReadBySocketIsTheListReadAtOnce compares with what encoding/json makes of the same text.
func FuzzAListReadBySocketIsTheListReadAtOnce(f *testing.F) {
	for _, text := range []string{
		`{"sockets": [], "problems": []}`, `{"sockets": [{"local": "a"}, {"local": "b", "ageSeconds": 1.5}], "problems": ["x"]}`,
		`{"problems": ["x"], "later": {"a": [1]}, "sockets": [{}]}`, `{}`, ``, `null`, `[]`, `{"sockets": [`, `{"sockets": [1]}`, `{"sockets": {}}`,
		`{"sockets": [{"state": "NONE"}]}`, `{"sockets": []}}`, `{"sockets": [] "problems": []}`,
		`{"Sockets": [{"LOCAL": "a"}], "proBlems": []}`, "{\"\u017foc\u212aets\": [{}], \"problem\u017f\": [\"x\"]}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, want api.SocketList
		err := readSockets(json.NewDecoder(strings.NewReader(text)), &got)
		wantErr := json.NewDecoder(strings.NewReader(text)).Decode(&want)
		if wantErr != nil && err == nil {
			t.Fatalf("%q: read, where encoding/json says %v", text, wantErr)
		}
		if err != nil {
			return // it is stricter with null
		}
		folded := strings.ToLower(strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(text))
		if strings.Count(folded, "sockets") > 1 || strings.Count(folded, "problems") > 1 || strings.Contains(text, `\u`) {
			return // of a name that comes twice, whichever of them
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-at once +by socket)\n%s", text, diff)
		}
	})
}
