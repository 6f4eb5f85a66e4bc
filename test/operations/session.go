// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package operations does what docs/operations.md says, and compares what it gets with what is printed there.
package operations

import (
	"fmt"
	"regexp"
	"strings"
)

// Step is a command of a session and what it prints.
type Step struct {
	Line    int // in the document
	Command string
	Output  []string
}

// Sessions returns the steps of all console blocks of a Markdown document, in order. A command begins with
// "$ " and goes on in lines that begin with "> "; what follows, up to the next command, is its output.
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
		return nil, fmt.Errorf("line %d: the document ends within a console block", n)
	}
	return steps, nil
}

// anything is a line of the document that stands for any number of lines.
const anything = "..."

// Match reports whether what was printed is what the document says, apart from what is another each time:
// numbers, times, durations, how columns are padded, and where a line that does not fit goes on, indented, in the next.
func Match(want, got []string) bool { return match(unfold(want), unfold(got)) }

// unfold joins each line with the indented ones below.
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

// normal replaces what is another each time.
func normal(line string) string {
	for _, r := range []struct{ what, by string }{
		{`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})`, "TIME"},
		{`\b((Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d+ )?\d{2}:\d{2}:\d{2}\b`, "TIME"},
		{`\b(\d+(\.\d+)?(ms|h|m|s))+\b`, "DURATION"},
		{`\bv?\d+(\.\d+)*(-[0-9]+-g[0-9a-f]+)?(-dirty)?\b`, "NUMBER"},
		{`\b[0-9a-f]{7,40}(-dirty)?\b`, "NUMBER"}, // a version that is a commit
		{`-{3,}`, "---"},
		{`\s+`, " "},
	} {
		line = regexp.MustCompile(r.what).ReplaceAllString(line, r.by)
	}
	return strings.TrimSpace(line)
}
