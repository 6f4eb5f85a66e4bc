// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheOperatorsPageHasTheKeysAndAScreen compares the section of docs/operate.md about the full screen with its keys and
// with a screen.
func TestTheOperatorsPageHasTheKeysAndAScreen(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Watch a node\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var listed, want []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) == 4 && !strings.HasPrefix(line, "|---") {
			listed = append(listed, strings.Trim(cells[1], " `"))
		}
	}
	m := newScreen(4, 80, 20)
	want = append(want, "key")
	for _, c := range m.commands() {
		want = append(want, c.Help().Key)
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("the keys (-want +listed)\n%s", diff)
	}
	_, screen, _ := strings.Cut(section, "```\n")
	screen, _, _ = strings.Cut(screen, "```\n")
	if diff := cmp.Diff(text(m), screen); diff != "" {
		t.Errorf("the screen (-want +on the page)\n%s", diff)
	}
}
