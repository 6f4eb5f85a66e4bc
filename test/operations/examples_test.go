// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
)

// example is the plugin's object in a conflist, as a page shows it.
type example struct {
	path string
	line int
	text string
}

var (
	fenced   = regexp.MustCompile("(?ms)^```json\n(.*?)^```$")
	indented = regexp.MustCompile(`(?m)^    \{"type": "halfclose".*\n(?:    .*\n)*`)
)

// examples returns the objects of all pages.
func examples(t *testing.T) (list []example) {
	t.Helper()
	paths := []string{filepath.Join(top, "deploy/kubernetes/chart/README.md")}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		add := func(start, end int) {
			list = append(list, example{path, strings.Count(text[:start], "\n") + 1, text[start:end]})
		}
		for _, at := range fenced.FindAllStringSubmatchIndex(text, -1) {
			add(at[2], at[3])
		}
		for _, at := range indented.FindAllStringIndex(text, -1) {
			add(at[0], at[1])
		}
	}
	return list
}

func TestThePluginAcceptsEachExample(t *testing.T) {
	all := examples(t)
	if len(all) < 10 {
		t.Errorf("the pages have %d examples, want at least 10", len(all))
	}
	for _, e := range all {
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(e.text), &object); err != nil || object.Type != "halfclose" {
			t.Errorf("%s:%d is not an object of the plugin: %v\n%s", e.path, e.line, err, e.text)
			continue
		}
		if _, problems := policy.ParseNetwork([]byte(e.text)); len(problems) > 0 {
			t.Errorf("%s:%d: %v\n%s", e.path, e.line, problems, e.text)
		}
	}
}

func TestThePluginAcceptsTheShippedConflist(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(top, "deploy/cni/10-halfclose.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Plugins []json.RawMessage }
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	n, problems := policy.ParseNetwork(list.Plugins[len(list.Plugins)-1])
	if len(problems) > 0 || !n.PodAnnotations {
		t.Errorf("%v, with annotations: %v", problems, n.PodAnnotations)
	}
}
