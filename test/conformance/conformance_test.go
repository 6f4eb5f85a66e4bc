// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance holds docs/cni-conformance.md to what it names.
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

func TestTheTestsThatThePageNamesExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs/cni-conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources := testSources(t)
	found := named.FindAllStringSubmatch(string(page), -1)
	if len(found) < 30 {
		t.Errorf("only %d tests are named", len(found))
	}
	for _, name := range found {
		in, ok := sourceOf(sources, "func "+name[1]+"(t *testing.T)")
		switch {
		case !ok:
			t.Errorf("there is no %s", name[1])
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
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| the spec") && strings.Contains(line, "| test |") || strings.HasPrefix(line, "| what they do |") {
			continue
		}
		if !named.MatchString(line) {
			t.Errorf("no test is named in: %s", line)
		}
	}
}

// testSources are the texts of all test files of the repository, by path.
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

// sourceOf returns the file that has the text.
func sourceOf(sources map[string]string, text string) (source string, ok bool) {
	for _, source := range sources {
		if strings.Contains(source, text) {
			return source, true
		}
	}
	return "", false
}
