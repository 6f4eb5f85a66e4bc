// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package operations runs the commands of the operator's pages in docs, and compares their output with the pages.
package operations

import (
	"fmt"
	"regexp"
	"strings"
)

// Step is a command of a session with its output.
type Step struct {
	Line    int // in the page
	Command string
	Output  []string
}

// Sessions returns the steps of all console blocks of a Markdown page, in order. A command begins with "$ " and
// continues in lines that begin with "> ". All lines up to the next command are its output.
func Sessions(markdown string) ([]Step, error) {
	var steps []Step
	inside := false
	n := 0
	for line := range strings.Lines(markdown) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case !inside:
			inside = strings.TrimSpace(line) == "```console"
			continue
		case strings.TrimSpace(line) == "```":
			inside = false
			continue
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, Step{Line: n, Command: command})
			continue
		}
		if len(steps) == 0 {
			return nil, fmt.Errorf("line %d: output before any command: %s", n, line)
		}
		last := &steps[len(steps)-1]
		if more, ok := strings.CutPrefix(line, ">"); ok && len(last.Output) == 0 {
			last.Command += "\n" + strings.TrimPrefix(more, " ")
			continue
		}
		last.Output = append(last.Output, line)
	}
	if inside {
		return nil, fmt.Errorf("line %d: the page ends inside a console block", n)
	}
	return steps, nil
}

// anything is a line of a page that matches any number of lines.
const anything = "..."

// Match reports whether the output got matches the page's. It ignores differences that each run has: numbers, times,
// durations, the padding of columns, and where a long line is wrapped into indented ones.
func Match(want, got []string) bool { return match(unfold(want), unfold(got)) }

// unfold joins each line with the indented lines below it.
func unfold(lines []string) (joined []string) {
	for _, line := range lines {
		if n := len(joined); n > 0 && strings.HasPrefix(line, " ") && joined[n-1] != anything {
			joined[n-1] += line
		} else {
			joined = append(joined, line)
		}
	}
	return joined
}

func match(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == anything {
		for skip := 0; skip <= len(got); skip++ {
			if match(want[1:], got[skip:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && same(want[0], got[0]) && match(want[1:], got[1:])
}

func same(want, got string) bool { return normal(want) == normal(got) }

// normal replaces the parts of a line that differ in each run.
func normal(line string) string {
	for _, r := range []struct{ pattern, by string }{
		{`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})`, "TIME"},
		{`\b((Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d+ )?\d{2}:\d{2}:\d{2}\b`, "TIME"},
		{`\b(\d+(\.\d+)?(ms|h|m|s))+\b`, "DURATION"},
		{`\bv?\d+(\.\d+)*(-[0-9]+-g[0-9a-f]+)?(-dirty)?\b`, "NUMBER"},
		{`\b[0-9a-f]{7,40}(-dirty)?\b`, "NUMBER"}, // a version that is a commit
		{`-{3,}`, "---"},
		{`\s+`, " "},
	} {
		line = regexp.MustCompile(r.pattern).ReplaceAllString(line, r.by)
	}
	return strings.TrimSpace(line)
}
