// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// finding is one use of a word.
type finding struct {
	line          int
	word, instead string
}

// checkFile returns the findings in a file, in the order of the lines.
func checkFile(dir, path string, rules ruleSet) ([]finding, error) {
	s, err := parseSource(dir, path)
	if err != nil {
		return nil, err
	}
	var findings []finding
	for line, after := range s.markers {
		if !hasReason(after) {
			findings = append(findings, finding{line: line, word: "prose:ok", instead: "give the reason: prose:ok: REASON"})
		}
	}
	for _, t := range s.texts {
		findings = append(findings, s.checkText(t, rules[t.section])...)
	}
	slices.SortFunc(findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.line, b.line), strings.Compare(a.word, b.word))
	})
	return slices.Compact(findings), nil
}

func (s source) checkText(t text, rules []rule) []finding {
	content := t.content
	if t.quotes {
		content = maskQuoted(content)
	}
	var findings []finding
	for _, rule := range rules {
		for _, at := range rule.pattern.FindAllStringIndex(content, -1) {
			first := t.first + strings.Count(content[:at[0]], "\n")
			last := first + strings.Count(content[at[0]:at[1]], "\n")
			if !s.isExcused(first, last, t.ends) {
				word := strings.Join(strings.Fields(content[at[0]:at[1]]), " ")
				findings = append(findings, finding{line: first, word: word, instead: rule.instead})
			}
		}
	}
	return findings
}

// isExcused reports whether one of the lines has a marker with a reason.
func (s source) isExcused(first, last int, ends []int) bool {
	for line, after := range s.markers {
		if hasReason(after) && (first <= line && line <= last || slices.Contains(ends, line)) {
			return true
		}
	}
	return false
}

// hasReason reports whether a marker is followed by a colon and a word.
func hasReason(after string) bool {
	reason, is := strings.CutPrefix(after, ":")
	return is && strings.IndexFunc(reason, unicode.IsLetter) >= 0
}

// quoted is text in backticks or quotation marks, with one line break in it at most. A quotation mark behind a letter opens
// nothing.
var quoted = regexp.MustCompile("`[^`\n]*\n?[^`\n]*`" + `|(^|[\s(\[{/*:,])"[^"\n]*\n?[^"\n]*"`)

// maskQuoted replaces quoted text by as many spaces.
func maskQuoted(content string) string {
	return quoted.ReplaceAllStringFunc(content, func(found string) string {
		return strings.Map(func(r rune) rune {
			if r == '\n' {
				return r
			}
			return ' '
		}, found)
	})
}
