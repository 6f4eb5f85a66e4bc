// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"regexp"
	"testing"
)

// TestTheReadmeRunsWhatThereIs looks up every command that README mentions, with its flags.
func TestTheReadmeRunsWhatThereIs(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	root := rootCommand(&env{getenv: func(string) string { return "" }})
	lines := regexp.MustCompile("(?m)(?:^    |`)halfclose ([a-z]+)((?: --[a-z-]+)*)").FindAllStringSubmatch(string(b), -1)
	if len(lines) < 6 {
		t.Fatalf("README mentions only %d commands", len(lines))
	}
	for _, line := range lines {
		cmd, _, err := root.Find([]string{line[1]})
		if err != nil || cmd == root {
			t.Errorf("there is no %q: %v", line[0], err)
			continue
		}
		cmd.InitDefaultHelpFlag()
		for _, flag := range regexp.MustCompile("--([a-z-]+)").FindAllStringSubmatch(line[2], -1) {
			if cmd.Flags().Lookup(flag[1]) == nil && cmd.InheritedFlags().Lookup(flag[1]) == nil {
				t.Errorf("%s has no flag --%s", cmd.Name(), flag[1])
			}
		}
	}
}
