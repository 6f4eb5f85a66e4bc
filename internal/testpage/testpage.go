// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package testpage reads the commands of a page of the documentation, for tests that run them as printed.
package testpage

import (
	"fmt"
	"os"
	"strings"
)

// Commands returns the first indented lines after a text on a page, without the indentation: one block of commands.
func Commands(page, after string) ([]string, error) {
	b, err := os.ReadFile(page)
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	_, text, ok := strings.Cut(string(b), "\n"+after)
	if !ok {
		return nil, fmt.Errorf("read commands: %s does not have %q", page, after)
	}
	var commands []string
	for line := range strings.Lines(text) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented:
			commands = append(commands, strings.TrimSuffix(command, "\n"))
		case len(commands) > 0:
			return commands, nil
		case strings.HasPrefix(line, "#"):
			return nil, fmt.Errorf("read commands: %s has none between %q and %q", page, after, strings.TrimSpace(line))
		}
	}
	if len(commands) == 0 {
		return nil, fmt.Errorf("read commands: %s has none after %q", page, after)
	}
	return commands, nil
}
