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

// TestThePagesMatchTheConfiguration parses the plugin's object in docs/install.md. Every key and annotation in the tables of
// docs/configuration.md must be known, and every known key must be in them.
func TestThePagesMatchTheConfiguration(t *testing.T) {
	page := func(name string) string {
		b, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	example := regexp.MustCompile(`(?s)\{"type": "halfclose".*?\}\}`).FindString(page("install.md"))
	n, problems := policy.ParseNetwork([]byte(example))
	if len(problems) > 0 || policy.Compose(n.Layer).Mode != policy.Destroy || !n.PodAnnotations {
		t.Errorf("%s\nhas the problems %v and says %+v", example, problems, n)
	}

	table := page("configuration.md")
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
			t.Errorf("docs/configuration.md lacks %s", key)
		}
	}

	for _, name := range regexp.MustCompile("`(halfclose\\.cni/[a-z0-9-]+)`").FindAllStringSubmatch(table, -1) {
		problems := policy.Layers{Annotations: map[string]string{name[1]: "nonsense"}}.Resolve(0).Problems
		if len(problems) != 1 || strings.Contains(problems[0], "unknown annotation") {
			t.Errorf("annotation %s: %q", name[1], problems)
		}
	}
}
