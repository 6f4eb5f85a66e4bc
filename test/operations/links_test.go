// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// document is a page with the anchors that links to it can name.
type document struct {
	path, text string
	anchors    map[string]bool
}

// readDocument reads a page. Its code is left out: what looks like a heading or a link there is none.
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

// anchorOf is what a link to a heading says: GitHub makes it of the letters, in lower case, with - for blanks.
func anchorOf(heading string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := make([]document, 0, len(paths)+2)
	for _, path := range append(paths, filepath.Join(top, "README.md"), filepath.Join(top, "CHANGELOG.md"), filepath.Join(top, "CONTRIBUTING.md")) {
		list = append(list, readDocument(t, path))
	}
	return list
}

func TestLinksLeadToWhatThereIs(t *testing.T) {
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
				t.Errorf("%s links to %s, and there is no such heading", d.path, link[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("there are only %d links", links)
	}
}

// TestPagesAreForReaders finds what was left of the writing of a page.
func TestPagesAreForReaders(t *testing.T) {
	for _, d := range documents(t) {
		for i, line := range strings.Split(d.text, "\n") {
			heading := strings.HasPrefix(line, "#")
			if strings.Contains(line, "<!--") || strings.Contains(line, "-->") && !strings.HasPrefix(line, "    ") ||
				heading && (strings.HasSuffix(line, ":") || strings.Count(line, `"`)%2 == 1) {
				t.Errorf("%s:%d: %s", d.path, i+1, line)
			}
		}
	}
}

func TestTheContentsAreThePagesSections(t *testing.T) {
	d := readDocument(t, filepath.Join(top, "docs/operations.md"))
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
		t.Errorf("the contents are %q, and the sections %q", got, want)
	}
}
