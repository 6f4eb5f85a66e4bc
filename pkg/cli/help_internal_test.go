// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// wholeCommandLine returns the command line with the commands that cmd/halfclose adds.
func wholeCommandLine() *cobra.Command {
	getenv := func(string) string { return "" }
	return rootCommand(&env{Printer: printer.Printer{Getenv: getenv}, more: []*cobra.Command{daemon.Command(daemon.Environment{Getenv: getenv})}})
}

// commandsBelow returns the path of every command of the tree, nil for the root.
func commandsBelow(cmd *cobra.Command) (paths [][]string) {
	paths = append(paths, nil)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			for _, path := range commandsBelow(c) {
				paths = append(paths, append([]string{c.Name()}, path...))
			}
		}
	}
	return paths
}

// isCobras reports whether a command is one of cobra's own.
func isCobras(path []string) bool {
	return len(path) > 0 && (path[0] == "completion" || path[0] == "help")
}

func TestHelpHasExamplesAndFits80Columns(t *testing.T) {
	root := wholeCommandLine()
	for _, path := range commandsBelow(root) {
		name := strings.Join(append([]string{"help"}, path...), "-")
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := call(t, nil, append(slices.Clone(path), "--help")...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if name == "help" {
				golden.Text(t, name, stdout)
			}
			cmd, _, err := root.Find(path)
			if err != nil {
				t.Fatal(err)
			}
			text := cmd.Long
			if text == "" {
				text = cmd.Short
			}
			for _, want := range []string{strings.TrimSpace(text), "Usage:", cmd.Example, "--help", "--state-dir dir"} {
				if !strings.Contains(stdout, want) {
					t.Errorf("it lacks %q:\n%s", want, stdout)
				}
			}
			if isCobras(path) {
				return
			}
			for line := range strings.Lines(stdout) {
				if term.Columns(strings.TrimSuffix(line, "\n")) > 80 {
					t.Errorf("a line of more than 80 columns: %s", line)
				}
			}
			if !cmd.HasExample() || !strings.Contains(stdout, "\nExamples:\n") {
				t.Error("it has no example")
			}
		})
	}
}

// TestExamplesAreValid parses the flags and arguments of every example in a help text.
func TestExamplesAreValid(t *testing.T) {
	found := 0
	for _, path := range commandsBelow(wholeCommandLine()) {
		cmd, _, err := wholeCommandLine().Find(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " > ")
			line = regexp.MustCompile(`\$\([^)]*\)`).ReplaceAllString(line, "X")
			line, _, _ = strings.Cut(line, ")")
			_, line, ok := strings.Cut(line, "halfclose ")
			if !ok {
				continue // continues the line above
			}
			args := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1)
			found++
			root := wholeCommandLine()
			example, rest, err := root.Find(args)
			if err == nil {
				err = example.ParseFlags(rest)
			}
			if err == nil {
				err = example.ValidateArgs(example.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d examples found", found)
	}
}
