// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"slices"
	"strings"
)

// unified shows the difference between two texts as diff -u does, in one piece. It is empty where there is none.
func unified(oldName, newName, oldText, newText string) string {
	if oldText == newText {
		return ""
	}
	const context = 3
	was, is := lines(oldText), lines(newText)
	head := 0
	for head < len(was) && head < len(is) && was[head] == is[head] {
		head++
	}
	tail := 0
	for tail < len(was)-head && tail < len(is)-head && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	from, after := max(head-context, 0), min(tail, context)
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
	fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(from, len(was)-tail+after), span(from, len(is)-tail+after))
	show := func(sign string, lines []string) {
		for _, line := range lines {
			b.WriteString(sign + line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	show(" ", was[from:head])
	show("-", was[head:len(was)-tail])
	show("+", is[head:len(is)-tail])
	show(" ", was[len(was)-tail:len(was)-tail+after])
	return b.String()
}

func lines(text string) []string { return slices.Collect(strings.Lines(text)) }

// span is a range of lines as diff writes it: the first one, counted from 1, and how many.
func span(from, to int) string {
	if to == from {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
