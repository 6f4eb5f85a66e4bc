// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/term"
)

func TestColumnsAreThoseOfATerminal(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "web-1": 5, "übergröße": 9, "漢字": 4, "e\u0301": 1, "🙂": 2, "ｆｕｌｌ": 8, "ﾊﾝｶｸ": 4, "→": 1,
	} {
		if got := term.Columns(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestFillBreaksLinesAtSpaces(t *testing.T) {
	for _, tt := range []struct {
		name              string
		width             int
		first, rest, text string
		want              string
	}{
		{"text that fits is one line", 12, "Mode  ", "      ", "active", "Mode  active"},
		{"longer text is broken", 12, "Mode  ", "      ", "not at all", "Mode  not at\n      all"},
		{"any width is one line", 0, "Mode  ", "      ", "not at all", "Mode  not at all"},
		{"a long word has its own line", 8, "> ", "  ", "a 10.0.0.1:443 b", "> a\n  10.0.0.1:443\n  b"},
		{"a long first word leaves the label alone", 10, "Destroyed ", "  ", "unacknowledged", "Destroyed\n  unacknowledged"},
		{"repeated spaces stay", 9, "", "", "a  b   c d e f", "a  b   c\nd e f"},
		{"empty text", 3, "Mode ", "", "", "Mode "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := term.Fill(tt.width, tt.first, tt.rest, tt.text); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func FuzzFillKeepsEveryWord(f *testing.F) {
	f.Add(10, apitest.Hostile+" is here")
	f.Add(1, "漢字 a\u0301b 10.0.0.1:443")
	f.Add(-1, "  ")
	f.Fuzz(func(t *testing.T, width int, text string) {
		text = safetext.Escape(text)
		if text != safetext.Escape(text) || !utf8.ValidString(text) {
			t.Fatalf("%q is not clean", text)
		}
		got := term.Fill(width, "> ", "  ", text)
		if diff := cmp.Diff(strings.Fields("> "+text), strings.Fields(got)); diff != "" {
			t.Errorf("words (-want +got)\n%s", diff)
		}
		for line := range strings.Lines(got) {
			if line = strings.TrimRight(line, "\n"); width > 0 && term.Columns(line) > width && len(strings.Fields(line[2:])) > 1 {
				t.Errorf("%q has %d columns, not %d", line, term.Columns(line), width)
			}
		}
	})
}
