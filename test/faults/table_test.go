// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
)

// boundary is a system call of a program about one thing.
type boundary struct {
	name   string // system calls
	of     string // what they are about
	faults []inject.Effect
	does   string // what the program does during the fault
}

// errnos returns the effects of failing with each errno.
func errnos(list ...unix.Errno) (effects []inject.Effect) {
	for _, errno := range list {
		effects = append(effects, inject.Fail(errno))
	}
	return effects
}

// tested returns the faults to test: the first one, or all if allVar is set.
func (b boundary) tested() []inject.Effect {
	if os.Getenv(allVar) != "" {
		return b.faults
	}
	return b.faults[:1]
}

func (b boundary) title() string { return b.name + " of " + b.of }

// line is a line of a table in the document.
func (b boundary) line(reported string) string {
	names := make([]string, 0, len(b.faults))
	for _, f := range b.faults {
		names = append(names, f.String())
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", b.name, b.of, strings.Join(slices.Compact(names), ", "), b.does, reported)
}

// inDocument checks that docs/faults.md has the lines in the table below a heading, and no others.
func inDocument(t *testing.T, heading string, want []string) {
	t.Helper()
	text, err := os.ReadFile(top + "/docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/faults.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "|") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	got = slices.Delete(got, 0, min(2, len(got))) // the header
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table in docs/faults.md, section %q (-want +got):\n%s\nThe lines must be:\n%s", heading, diff, strings.Join(want, "\n"))
	}
}
