// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package safetext makes text of foreign origin safe to log and to show: commands, annotations, file names, error
// texts. No control character moves a cursor, breaks a line or forges another log line, and no text is longer than its
// reader allows.
package safetext

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// IsPrintable reports whether s is valid UTF-8 without characters that do not print.
func IsPrintable(s string) bool {
	return isPrintableASCII(s) || utf8.ValidString(s) && !strings.ContainsFunc(s, isUnprintable)
}

// Escape returns s with Go escapes in place of the characters that do not print and of invalid UTF-8. Text that prints
// is returned unchanged, quotes and backslashes included.
func Escape(s string) string {
	if IsPrintable(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// Replace returns s with replacement in place of each character that does not print and of each run of invalid UTF-8.
func Replace(s string, replacement rune) string {
	return strings.Map(func(r rune) rune {
		if isUnprintable(r) {
			return replacement
		}
		return r
	}, strings.ToValidUTF8(s, string(replacement)))
}

// Quote returns s in double quotes, with escapes. Of a longer text it quotes the first limit bytes, followed by "...".
func Quote(s string, limit int) string {
	s, isCut := Prefix(s, limit)
	quoted := strings.ReplaceAll(strconv.Quote(s), "\ufffd", `\ufffd`) // JSON decoders put U+FFFD in place of invalid UTF-8
	if isCut {
		quoted += ellipsis
	}
	return quoted
}

// Cut returns s in at most limit bytes, which end in "..." if it is cut. The limit is at least 3.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s, _ = Prefix(s, limit-len(ellipsis))
	return s + ellipsis
}

// Prefix returns the first limit bytes of s without half a character at their end, and whether that is less than s.
// If it is, invalid UTF-8 is left out too.
func Prefix(s string, limit int) (prefix string, isCut bool) {
	if len(s) <= limit {
		return s, false
	}
	return strings.ToValidUTF8(s[:limit], ""), true
}

const ellipsis = "..."

func isUnprintable(r rune) bool { return !strconv.IsPrint(r) }

// isPrintableASCII is the fast path: nearly all text is.
func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
