// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package safetext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/halfclose/halfclose/internal/safetext"
)

func TestTextThatPrintsIsUnchanged(t *testing.T) {
	for _, s := range []string{"", "plain", `a "quoted" \ text`, "größe 漢字"} {
		if got := safetext.Escape(s); got != s {
			t.Errorf("Escape(%q) = %q", s, got)
		}
		if got := safetext.Replace(s, '?'); got != s {
			t.Errorf("Replace(%q) = %q", s, got)
		}
		if got := safetext.Cut(s, 100); got != s {
			t.Errorf("Cut(%q) = %q", s, got)
		}
	}
}

func TestUnprintableTextIsEscapedOrReplaced(t *testing.T) {
	for s, want := range map[string]struct{ escaped, replaced, quoted string }{
		"a\x1b[2Jb":    {`a\x1b[2Jb`, "a?[2Jb", `"a\x1b[2Jb"`},
		"two\nlines":   {`two\nlines`, "two?lines", `"two\nlines"`},
		"\u202eevil":   {`\u202eevil`, "?evil", `"\u202eevil"`},
		"bad \xff\xfe": {`bad \xff\xfe`, "bad ?", `"bad \xff\xfe"`},
		"del\x7f\r":    {`del\x7f\r`, "del??", `"del\x7f\r"`},
		"\x9b31m":      {`\x9b31m`, "?31m", `"\x9b31m"`},
		"\u2028\u200b": {`\u2028\u200b`, "??", `"\u2028\u200b"`},
		"json \ufffd":  {"json \ufffd", "json \ufffd", `"json \ufffd"`},
	} {
		if got := safetext.Escape(s); got != want.escaped {
			t.Errorf("Escape(%q) = %q, want %q", s, got, want.escaped)
		}
		if got := safetext.Replace(s, '?'); got != want.replaced {
			t.Errorf("Replace(%q) = %q, want %q", s, got, want.replaced)
		}
		if got := safetext.Quote(s, 100); got != want.quoted {
			t.Errorf("Quote(%q) = %s, want %s", s, got, want.quoted)
		}
	}
}

func TestLongTextIsCutBetweenCharacters(t *testing.T) {
	for _, tt := range []struct {
		s          string
		limit      int
		cut, quote string
	}{
		{"abcdef", 6, "abcdef", `"abcdef"`},
		{"abcdefg", 6, "abc...", `"abcdef"...`},
		{"abäxyz", 6, "ab...", `"abäxy"...`}, // ä is two bytes, of which the cut would keep one
	} {
		if got := safetext.Cut(tt.s, tt.limit); got != tt.cut {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.s, tt.limit, got, tt.cut)
		}
		if got := safetext.Quote(tt.s, tt.limit); got != tt.quote {
			t.Errorf("Quote(%q, %d) = %s, want %s", tt.s, tt.limit, got, tt.quote)
		}
	}
}

func FuzzTextIsSafe(f *testing.F) {
	f.Add("a\x1b]0;b\x07\xff漢", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(limit, 3)
		if got := safetext.Cut(s, limit); len(got) > limit {
			t.Errorf("Cut(%q, %d) = %q, which has %d bytes", s, limit, got, len(got))
		}
		for _, got := range []string{safetext.Escape(s), safetext.Replace(s, '?'), safetext.Quote(s, limit)} {
			if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00") {
				t.Errorf("%q becomes %q", s, got)
			}
		}
	})
}
