// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestTheNameOfTheOneWhoSetsTheModeIsPrintable(t *testing.T) {
	for who, want := range map[string]string{
		"root":                            "root",
		"root@node-1 (pts/0), sudo by 日本": "root@node-1 (pts/0), sudo by 日本",
		"":                                "unknown",
		" \t\n":                           "unknown",
		"   ":                             "unknown",
		"two\nlines":                      "two?lines",
		"\x1b[2Jroot":                     "?[2Jroot",
		"\xff\xferoot":                    "?root",
		"\u202eroot":                      "?root",
		strings.Repeat("é", 128):          strings.Repeat("é", 128),
		strings.Repeat("é", 129):          strings.Repeat("é", 126) + "...",
	} {
		if got := printableName(who); got != want {
			t.Errorf("%q becomes %q, want %q", who, got, want)
		}
	}
}

func FuzzAModeRequestIsRefusedOrHarmless(f *testing.F) {
	for _, body := range []string{
		`{"mode": "observe", "who": "me"}`, `{"mode": "destroy"}`, `{"mode": "off"}`, `{"MODE": "observe"}`, `{}`, `null`, ``, `[]`,
		`{"mode": "observe", "who": "` + "\x00" + `"}`, `{"mode": "observe", "who": "\u001b[2J"}`, `{"mode": "observe"}{}`, `{"mode": 1}`,
		`{"mode": "observe", "mode": "destroy"}`, `{"mode": "observe", "Mode": "destroy"}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m, err := decodeModeRequest(strings.NewReader(body))
		if err != nil {
			if err, ok := err.(statusError); !ok || err.code/100 != 4 { //nolint:errorlint // it is never wrapped
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if m.Mode != policy.Destroy && m.Mode != policy.Observe {
			t.Errorf("%q: mode %v", body, m.Mode)
		}
		if strings.Count(strings.ToLower(body), `"mode":`) > 1 && !strings.Contains(body, "\\") && m.Who == "" && m.Reason == "" {
			t.Errorf("%q: accepted with two modes", body)
		}
		who := printableName(m.Who)
		printable := strings.IndexFunc(who, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
		if who == "" || !utf8.ValidString(who) || !printable || len(who) > maxWho {
			t.Errorf("%q: the name is stored as %q", body, who)
		}
	})
}
