// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package termtest

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/term"
)

// CheckWidth checks that every line fits width, except for a single word, and that no line ends in blanks.
func CheckWidth(t *testing.T, width int, printed string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		line = strings.TrimSuffix(line, "\n")
		if term.Columns(line) > width && strings.Contains(strings.TrimSpace(line), " ") {
			t.Errorf("a line of %d columns on a screen of %d:\n%s", term.Columns(line), width, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("a line ends in blanks: %q", line)
		}
	}
}
