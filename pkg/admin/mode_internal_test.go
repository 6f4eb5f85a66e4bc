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

func TestWhoSetsTheModeIsKeptLegible(t *testing.T) {
	for who, want := range map[string]string{
		"root":                            "root",
		"root@node-1 (pts/0), sudo by 日本": "root@node-1 (pts/0), sudo by 日本",
		"":                                "somebody who did not say",
		" \t\n":                           "somebody who did not say",
		"   ":                             "somebody who did not say",
		"two\nlines":                      "two?lines",
		"\x1b[2Jroot":                     "?[2Jroot",
		"\xff\xferoot":                    "?root",
		"\u202eroot":                      "?root",
		strings.Repeat("é", 128):          strings.Repeat("é", 128),
		strings.Repeat("é", 129):          strings.Repeat("é", 127) + "…",
	} {
		if got := legible(who); got != want {
			t.Errorf("%q becomes %q, want %q", who, got, want)
		}
	}
}

func FuzzAModeRequestIsRefusedOrHarmless(f *testing.F) {
	for _, body := range []string{
		`{"mode": "observe", "who": "me"}`, `{"mode": "destroy"}`, `{"mode": "off"}`, `{"MODE": "observe"}`, `{}`, `null`, ``, `[]`,
		`{"mode": "observe", "who": "` + "\x00" + `"}`, `{"mode": "observe", "who": "\u001b[2J"}`, `{"mode": "observe"}{}`, `{"mode": 1}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m, err := modeRequest(strings.NewReader(body))
		if err != nil {
			if err, ok := err.(failure); !ok || err.code/100 != 4 { //nolint:errorlint // it is never wrapped
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if m.Mode != policy.Destroy && m.Mode != policy.Observe {
			t.Errorf("%q: mode %v", body, m.Mode)
		}
		who := legible(m.Who)
		printable := strings.IndexFunc(who, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
		if who == "" || !utf8.ValidString(who) || !printable || utf8.RuneCountInString(who) > maxWho {
			t.Errorf("%q: who is kept as %q", body, who)
		}
	})
}
