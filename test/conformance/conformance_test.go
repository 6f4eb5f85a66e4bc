// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance checks that the tests that docs/cni-conformance.md and docs/security.md name exist.
package conformance_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

// pages lists the pages whose claims have tests, with the least number of tests that each names.
func pages() map[string]int {
	return map[string]int{"docs/cni-conformance.md": 30, "docs/security.md": 100}
}

// The pages name tests in backticks: TestName, TestName/name of a subtest, or FuzzName.
var named = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)(?:/([^`]+))?`")

func TestEachNamedTestExists(t *testing.T) {
	sources := testSources(t)
	for path, least := range pages() {
		page, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllStringSubmatch(string(page), -1)
		if len(found) < least {
			t.Errorf("%s names %d tests, want at least %d", path, len(found), least)
		}
		for _, name := range found {
			of := "(t *testing.T)"
			if strings.HasPrefix(name[1], "Fuzz") {
				of = "(f *testing.F)"
			}
			in, ok := sourceOf(sources, "func "+name[1]+of)
			switch {
			case !ok:
				t.Errorf("%s: %s does not exist", path, name[1])
			case name[2] != "" && !strings.Contains(in, `"`+name[2]+`"`):
				t.Errorf("%s: %s has no subtest %q", path, name[1], name[2])
			}
		}
	}
}

func TestEveryRowNamesATest(t *testing.T) {
	for path := range pages() {
		page, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(page)) {
			if !strings.HasPrefix(line, "| ") || strings.HasSuffix(line, "| test |\n") || strings.HasSuffix(line, "| tests |\n") {
				continue
			}
			if !named.MatchString(line) {
				t.Errorf("%s: the row names no test: %s", path, line)
			}
		}
	}
}

// TestTheArchitectureNamesEachInvariant and links to the page that has their tests.
func TestTheArchitectureNamesEachInvariant(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile(filepath.Join(top, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 7; i++ {
		if name := fmt.Sprintf("**I%d.**", i); !strings.Contains(string(page), name) || !strings.Contains(string(security), "| "+name) {
			t.Errorf("a page does not name %s", name)
		}
	}
	if !strings.Contains(string(page), "(security.md#invariants)") {
		t.Error("docs/architecture.md does not link to the tests of the invariants")
	}
}

// testSources returns the content of all test files of the repository, by path.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	sources := make(map[string]string)
	for _, dir := range []string{"pkg", "internal", "cmd", "plugins", "cluster", "test", "tools"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			sources[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sources
}

// sourceOf returns the content of the file that contains the text.
func sourceOf(sources map[string]string, text string) (source string, ok bool) {
	for _, source := range sources {
		if strings.Contains(source, text) {
			return source, true
		}
	}
	return "", false
}
