// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is a page with the anchors that links to it can name.
type document struct {
	path, text string
	anchors    map[string]bool
}

// readDocument reads a page without its code blocks, which may contain lines that look like headings or links.
func readDocument(t *testing.T, path string) document {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := document{path: path, anchors: make(map[string]bool)}
	d.text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllStringFunc(string(b), func(code string) string {
		return strings.Repeat("\n", strings.Count(code, "\n"))
	})
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(d.text, -1) {
		d.anchors[anchorOf(heading[1])] = true
	}
	return d
}

// anchorOf returns the anchor that GitHub gives a heading: letters in lower case, with - for spaces.
func anchorOf(heading string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// documents returns all pages of the repository and of the chart.
func documents(t *testing.T) []document {
	t.Helper()
	var list []document
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "deploy/kubernetes/chart/README.md"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			list = append(list, readDocument(t, path))
		}
	}
	return list
}

func TestEachLinkHasItsTarget(t *testing.T) {
	all := make(map[string]document)
	for _, d := range documents(t) {
		all[filepath.Clean(d.path)] = d
	}
	links := 0
	for _, d := range all {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(d.text, -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := filepath.Clean(d.path)
			if path != "" {
				target = filepath.Join(filepath.Dir(d.path), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", d.path, link[1], err)
			}
			if to, ok := all[target]; anchor != "" && (!ok || !to.anchors[anchor]) {
				t.Errorf("%s links to %s: no such heading", d.path, link[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("the pages have %d links, want at least 20", links)
	}
}

// generated are the markers around the tables that a test of tools/chart and the run of the kernels write.
var generated = []string{
	"<!-- values: written by go test -update in tools/chart -->", "<!-- end of values -->",
	"<!-- results: make test-kernels ARGS=-record -->", "<!-- end of results -->",
}

// TestPagesHaveNoLeftoversOfWriting looks for comments and unfinished headings.
func TestPagesHaveNoLeftoversOfWriting(t *testing.T) {
	for _, d := range documents(t) {
		for i, line := range strings.Split(d.text, "\n") {
			if slices.Contains(generated, line) {
				continue
			}
			heading := strings.HasPrefix(line, "#")
			if strings.Contains(line, "<!--") || strings.Contains(line, "-->") && !strings.HasPrefix(line, "    ") ||
				heading && (strings.HasSuffix(line, ":") || strings.Count(line, `"`)%2 == 1) {
				t.Errorf("%s:%d: %s", d.path, i+1, line)
			}
		}
	}
}

func TestContentsListEverySection(t *testing.T) {
	for _, page := range pages {
		d := readDocument(t, filepath.Join(top, "docs", page))
		_, contents, _ := strings.Cut(d.text, "\n- [")
		contents, sections, _ := strings.Cut("\n- ["+contents, "\n\n")
		var got, want []string
		for _, entry := range regexp.MustCompile(`\[([^\]]+)\]`).FindAllStringSubmatch(contents, -1) {
			got = append(got, entry[1])
		}
		for _, heading := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(sections, -1) {
			want = append(want, heading[1])
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) == 0 {
			t.Errorf("%s: the contents are %q, and the sections %q", page, got, want)
		}
	}
}

func TestDecisionRecordsAreCompleteAndListed(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(top, "docs/decisions/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(top, "docs/decisions/2*.md"))
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d records, %v", len(paths), err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, record := filepath.Base(path), string(b)
		for _, part := range []string{"- Status: ", "- Date: " + name[:len("2026-11-29")], "## Context", "## Decision", "## Alternatives", "## Consequences"} {
			if !strings.Contains(record, "\n"+part) {
				t.Errorf("%s has no %q", name, part)
			}
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(record, "# "), "\n")
		if line := "- " + name[:len("2026-11-29")] + " [" + title + "](" + name + ")"; !strings.Contains(string(index), "\n"+line) {
			t.Errorf("docs/decisions/README.md lacks the line %q", line)
		}
	}
}

// TestTheAlertsPageListsEveryMetric reads the names from string literals of the two packages that define metrics.
func TestTheAlertsPageListsEveryMetric(t *testing.T) {
	defined := make(map[string]bool)
	for _, pattern := range []string{"pkg/metrics/*.go", "pkg/reaper/*.go"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`"(halfclose_[a-z_]+)"`).FindAllStringSubmatch(string(b), -1) {
				defined[m[1]] = true
			}
		}
	}
	if len(defined) < 20 {
		t.Fatalf("%d metrics, want at least 20", len(defined))
	}
	page, err := os.ReadFile(filepath.Join(top, "docs/alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, m := range regexp.MustCompile("`(halfclose_[a-z_]+)").FindAllStringSubmatch(table, -1) {
		if !defined[m[1]] {
			t.Errorf("docs/alerts.md lists %s, which does not exist", m[1])
		}
		delete(defined, m[1])
	}
	for name := range defined {
		t.Errorf("docs/alerts.md does not list %s", name)
	}
}
