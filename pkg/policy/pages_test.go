// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
)

// TestReadmeMatchesTheConfiguration parses the plugin's object in the README. Every key and annotation of its tables must be
// known, and every known key must be in them.
func TestReadmeMatchesTheConfiguration(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)

	example := regexp.MustCompile(`(?s)\{"type": "halfclose".*?\}\}`).FindString(readme)
	n, problems := policy.ParseNetwork([]byte(example))
	if len(problems) > 0 || policy.Compose(n.Layer).Mode != policy.Destroy || !n.PodAnnotations {
		t.Errorf("%s\nhas the problems %v and says %+v", example, problems, n)
	}

	_, table, _ := strings.Cut(readme, "## Configuration")
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z0-9]+)`").FindAllStringSubmatch(table, -1) {
		_, problems := policy.ParseNetwork([]byte(`{"` + row[1] + `": null}`))
		if strings.Contains(problems.Error(), "unknown key") {
			t.Errorf("there is no key %s: %v", row[1], problems)
		}
	}
	_, problems = policy.ParseNetwork([]byte(`{"nothingLikeIt": 1}`))
	_, keys, _ := strings.Cut(problems[0].Message, "want one of ")
	for key := range strings.SplitSeq(keys, ", ") {
		if !strings.Contains(table, "| `"+key+"`") {
			t.Errorf("README's table lacks %s", key)
		}
	}

	for _, name := range regexp.MustCompile("`(halfclose\\.cni/[a-z0-9-]+)`").FindAllStringSubmatch(table, -1) {
		problems := policy.Layers{Annotations: map[string]string{name[1]: "nonsense"}}.Resolve(0).Problems
		if len(problems) != 1 || strings.Contains(problems[0], "unknown annotation") {
			t.Errorf("annotation %s: %q", name[1], problems)
		}
	}
}
