// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// isASCII reports whether s is printable ASCII, as nearly everything is.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Columns returns the number of terminal columns of s, which must be clean.
func Columns(s string) int {
	if isASCII(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me): // on top of the rune before it
		case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// Fill breaks text at its spaces into lines of at most width columns; 0 is any width. The first line begins with first,
// the others with rest. A word that is too long has its own line.
func Fill(width int, first, rest, text string) string {
	if width <= 0 || text == "" || Columns(first)+Columns(text) <= width {
		return first + text
	}
	return fillWords(width, first, rest, strings.Split(text, " "))
}

// fillWords is Fill for words that may contain spaces.
func fillWords(width int, first, rest string, words []string) string {
	var b strings.Builder
	b.WriteString(first)
	at, empty := Columns(first), true
	for _, word := range words {
		n := Columns(word)
		switch {
		case !empty && (at+1+n <= width || width <= 0):
			b.WriteByte(' ')
			at++
		case !empty || at+n > width && at > Columns(rest) && width > 0:
			if empty { // first has its own line
				b.Reset()
				b.WriteString(strings.TrimRight(first, " "))
			}
			b.WriteByte('\n')
			b.WriteString(rest)
			at = Columns(rest)
		}
		b.WriteString(word)
		at += n
		empty = false
	}
	return b.String()
}

// Cut cuts s to width columns, with "…" at its end.
func Cut(s string, width int) string {
	if Columns(s) <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		n += Columns(string(r))
		if n > width-1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// Pad cuts s or adds spaces at its end to make it width columns wide.
func Pad(s string, width int) string {
	s = Cut(s, width)
	return s + strings.Repeat(" ", max(0, width-Columns(s)))
}
