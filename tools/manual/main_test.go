// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cli"
)

// lint returns the warnings of groff about a page.
func lint(t *testing.T, page string) string {
	t.Helper()
	cmd := exec.Command("groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-z", page)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("groff %s: %v: %s", page, err, out)
	}
	return string(out)
}

func needGroff(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("groff"); err != nil {
		nstest.Skip(t, "groff is not installed: run apt-get install groff-base")
	}
}

func TestEachCommandHasAPageThatGroffFormatsWithoutWarnings(t *testing.T) {
	t.Parallel()
	needGroff(t)
	dir := t.TempDir()
	if err := writePages(dir, "v0.0.9"); err != nil {
		t.Fatal(err)
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		page := filepath.Join(dir, name+".8")
		b, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			return
		}
		if title := `.TH "` + strings.ToUpper(name) + `" "8"`; !strings.Contains(string(b), title) {
			t.Errorf("%s has not the title %s", page, title)
		}
		if warnings := lint(t, page); warnings != "" {
			t.Errorf("groff warns of %s:\n%s", name, warnings)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
				check(sub)
			}
		}
	}
	check(cli.Command(reaperCommand()))
}

func TestGroffWarnsOfAMistake(t *testing.T) {
	t.Parallel()
	needGroff(t)
	page := filepath.Join(t.TempDir(), "wrong.8")
	if err := os.WriteFile(page, []byte(".TH wrong 8\n.SH NAME\n.XY\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if warnings := lint(t, page); !strings.Contains(warnings, "XY") {
		t.Errorf("groff prints %q", warnings)
	}
}
