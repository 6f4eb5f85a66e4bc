// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"regexp"
	"testing"

	"github.com/spf13/cobra"
)

// TestCommandsInTheReadmeExist looks up every command of README with its flags.
func TestCommandsInTheReadmeExist(t *testing.T) {
	readme := page(t, "README.md")
	root := wholeCommandLine()
	lines := regexp.MustCompile("(?m)(?:^    |`)halfclose ([a-z-]+)((?: --?[a-z-]+)*)").FindAllStringSubmatch(readme, -1)
	if len(lines) < 3 {
		t.Fatalf("README mentions only %d commands", len(lines))
	}
	for _, line := range lines {
		checkFlags(t, root, line[1], line[2])
	}
}

// TestCommandsInTheDocumentsExist looks up the commands of the other documents and of the shipped files.
func TestCommandsInTheDocumentsExist(t *testing.T) {
	root := wholeCommandLine()
	for path, least := range map[string]int{
		"../../docs/operate.md":                             40,
		"../../docs/commands.md":                            20,
		"../../docs/install.md":                             10,
		"../../docs/kubernetes.md":                          5,
		"../../docs/alerts.md":                              10,
		"../../deploy/kubernetes/chart/README.md":           1,
		"../../deploy/prometheus/halfclose.rules.yaml":      10,
		"../../deploy/kubernetes/chart/templates/NOTES.txt": 2,
		"../../deploy/kubernetes/chart/values.yaml":         2,
		"../../deploy/systemd/halfclose.default":            2,
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := regexp.MustCompile("(?:^|    |`|\\$ |-- |\"|\\}\\} )halfclose ([a-z-]+)((?: --?[a-z-]+)*)").FindAllStringSubmatch(string(b), -1)
		if len(lines) < least {
			t.Errorf("%s mentions only %d commands", path, len(lines))
		}
		for _, line := range lines {
			checkFlags(t, root, line[1], line[2])
		}
	}
}

// TestThePageOfCommandsListsEveryCommand compares the table of docs/commands.md with the command line.
func TestThePageOfCommandsListsEveryCommand(t *testing.T) {
	root := wholeCommandLine()
	table := page(t, "docs/commands.md")
	listed := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `halfclose ([a-z-]+)[^`]*`(?:, `halfclose ([a-z-]+)[^`]*`)? \\|(.*)$").FindAllStringSubmatch(table, -1) {
		listed[row[1]], listed[row[2]] = true, true
		checkFlags(t, root, row[1], row[3])
	}
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && !listed[cmd.Name()] {
			t.Errorf("docs/commands.md lacks halfclose %s", cmd.Name())
		}
	}
}

// page returns a page of the repository.
func page(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkFlags checks that a command exists and has every flag in text.
func checkFlags(t *testing.T, root *cobra.Command, name, text string) {
	t.Helper()
	cmd, _, err := root.Find([]string{name})
	if err != nil || cmd == root {
		t.Errorf("no command halfclose %s: %v", name, err)
		return
	}
	cmd.InitDefaultHelpFlag()
	for _, flag := range regexp.MustCompile("--([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if cmd.Flags().Lookup(flag[1]) == nil && cmd.InheritedFlags().Lookup(flag[1]) == nil {
			t.Errorf("%s has no flag --%s", name, flag[1])
		}
	}
}
