// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance checks that the tests that docs/cni-conformance.md names exist.
package conformance_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

// The page names tests in backticks: TestName, or TestName/name of a subtest.
var named = regexp.MustCompile("`(Test[A-Za-z0-9]+)(?:/([^`]+))?`")

func TestEachNamedTestExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs/cni-conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources := testSources(t)
	found := named.FindAllStringSubmatch(string(page), -1)
	if len(found) < 30 {
		t.Errorf("the page names %d tests, want at least 30", len(found))
	}
	for _, name := range found {
		in, ok := sourceOf(sources, "func "+name[1]+"(t *testing.T)")
		switch {
		case !ok:
			t.Errorf("%s does not exist", name[1])
		case name[2] != "" && !strings.Contains(in, `"`+name[2]+`"`):
			t.Errorf("%s has no subtest %q", name[1], name[2])
		}
	}
}

func TestEveryRowNamesATest(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs/cni-conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasSuffix(line, "| test |\n") {
			continue
		}
		if !named.MatchString(line) {
			t.Errorf("the row names no test: %s", line)
		}
	}
}

// testSources returns the content of all test files of the repository, by path.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	sources := make(map[string]string)
	for _, dir := range []string{"pkg", "cmd", "plugins", "test"} {
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
