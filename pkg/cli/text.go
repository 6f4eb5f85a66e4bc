// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// clean shows what does not print as escapes, so that no name can move the cursor or break a line.
func clean(s string) string {
	if isASCII(s) || utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// isASCII reports whether s is printable ASCII, as nearly everything is.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// columns is how many columns of a terminal s takes, which has been through clean.
func columns(s string) int {
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

// fill breaks text, which has been through clean, into lines of at most so many columns at its spaces. The
// first line begins with first and the others with rest; a word that is too long has a line to itself. With
// 0 columns there is one line.
func fill(width int, first, rest, text string) string {
	if width <= 0 || text == "" || columns(first)+columns(text) <= width {
		return first + text
	}
	return fillWords(width, first, rest, strings.Split(text, " "))
}

// fillWords is fill of words, at the blanks in which no line is broken.
func fillWords(width int, first, rest string, words []string) string {
	var b strings.Builder
	b.WriteString(first)
	at, empty := columns(first), true
	for _, word := range words {
		n := columns(word)
		switch {
		case !empty && (at+1+n <= width || width <= 0):
			b.WriteByte(' ')
			at++
		case !empty || at+n > width && at > columns(rest) && width > 0:
			if empty { // the beginning has a line to itself
				b.Reset()
				b.WriteString(strings.TrimRight(first, " "))
			}
			b.WriteByte('\n')
			b.WriteString(rest)
			at = columns(rest)
		}
		b.WriteString(word)
		at += n
		empty = false
	}
	return b.String()
}
