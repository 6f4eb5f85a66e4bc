// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const top = "../.."

// good is a workflow without a mistake. Each case of TestMistakesAreFound makes one.
const good = `
on: [push]
permissions:
  contents: read
concurrency: x
jobs:
  a:
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - run: make "$TARGET"
`

func TestMistakesAreFound(t *testing.T) {
	const digest = "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
	tests := []struct {
		name, old, new string
		want           []string
	}{
		{name: "a good workflow has none"},
		{"a tag instead of a digest", digest, "@v7", []string{"a step 1: actions/checkout@v7 is not pinned by a full commit digest"}},
		{"a short digest", digest, "@3d3c42e # v7.0.1", []string{"a step 1: actions/checkout@3d3c42e is not pinned by a full commit digest"}},
		{"a digest without its version", " # v7.0.1", "", []string{"a step 1: actions/checkout" + digest[:41] + " has no comment with its version (# v1.2.3)"}},
		{"no permissions", "permissions:\n  contents: read\n", "", []string{"the permissions of the workflow are not {} or contents: read: more is for single jobs"}},
		{"a write permission for all jobs", "contents: read", "contents: write", []string{"the permissions of the workflow are not {} or contents: read: more is for single jobs"}},
		{"a second permission for all jobs", "contents: read", "contents: read\n  id-token: write", []string{"the permissions of the workflow are not {} or contents: read: more is for single jobs"}},
		{"all permissions", "permissions:\n  contents: read\n", "permissions: write-all\n", []string{"the permissions of the workflow are not {} or contents: read: more is for single jobs"}},
		{"no permissions at all are fine", "permissions:\n  contents: read\n", "permissions: {}\n", nil},
		{"no concurrency", "concurrency: x\n", "", []string{"the workflow has no concurrency"}},
		{"a trigger with the repository's token", "[push]", "[pull_request_target]", []string{"pull_request_target runs code of a fork with the token of the repository"}},
		{"no timeout", "    timeout-minutes: 5\n", "", []string{"job a has no timeout-minutes"}},
		{"a checkout that keeps its token", "persist-credentials: false", "fetch-depth: 0", []string{"a step 1: checkout without persist-credentials: false leaves its token in .git/config"}},
		{"an expression in a script", `"$TARGET"`, "${{ github.head_ref }}", []string{"a step 3: run has an expression, which becomes part of the script: pass it by env"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			content := strings.Replace(good, tt.old, tt.new, 1)
			if tt.old != "" && content == good {
				t.Fatalf("the workflow has no %q", tt.old)
			}
			got, err := check([]byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("mistakes (-want +got)\n%s", diff)
			}
		})
	}
}

func TestEachWorkflowAndActionIsWithoutMistakes(t *testing.T) {
	for _, path := range workflowFiles(t) {
		mistakes, err := check(read(t, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, mistake := range mistakes {
			t.Errorf("%s: %s", path, mistake)
		}
	}
}

// A digest with two versions, or a version with two digests, is a mistake in one of them.
func TestAnActionHasOneDigestInAllWorkflows(t *testing.T) {
	uses := regexp.MustCompile(`uses: ([\w.-]+/[\w.-]+)\S*@(\S+ # \S+)`)
	first := map[string]string{}
	for _, path := range workflowFiles(t) {
		for _, match := range uses.FindAllSubmatch(read(t, path), -1) {
			action, pin := string(match[1]), string(match[2])
			if first[action] == "" {
				first[action] = pin
			}
			if pin != first[action] {
				t.Errorf("%s: %s@%s: another file has %s", path, action, pin, first[action])
			}
		}
	}
	if first["actions/checkout"] == "" {
		t.Error("no file uses actions/checkout")
	}
}

// Only a maintainer's machine runs these: the benchmark needs an idle machine.
var localTargets = []string{"bench"}

func TestEachTargetOfTheWholeCheckIsInAWorkflow(t *testing.T) {
	var workflows strings.Builder
	for _, path := range workflowFiles(t) {
		workflows.Write(read(t, path))
	}
	steps := regexp.MustCompile(`(?m)^step \S+ (?:env \S+ )?make ([a-z0-9-]+)`).FindAllSubmatch(read(t, top+"/.ci/run"), -1)
	if len(steps) == 0 {
		t.Fatal(".ci/run has no step that runs make")
	}
	for _, match := range steps {
		target := string(match[1])
		word := regexp.MustCompile(`[ \[]` + regexp.QuoteMeta(target) + `(?:[,\] ]|$|\n)`)
		if !slices.Contains(localTargets, target) && !word.MatchString(workflows.String()) {
			t.Errorf("no workflow runs make %s, which .ci/run does", target)
		}
	}
}

func TestAllModulesNameOneToolchain(t *testing.T) {
	lines := regexp.MustCompile(`(?m)^(?:go|toolchain) .*$`)
	want := lines.FindAllString(string(read(t, top+"/go.mod")), -1)
	if len(want) != 2 {
		t.Fatalf("go.mod has %q: want a go and a toolchain line", want)
	}
	for _, module := range modules(t) {
		got := lines.FindAllString(string(read(t, filepath.Join(top, module, "go.mod"))), -1)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s/go.mod (-the main module's +its)\n%s", module, diff)
		}
	}
}

func TestDependabotUpdatesEachModule(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directories []string
		}
	}
	if err := yaml.Unmarshal(read(t, top+"/.github/dependabot.yml"), &config); err != nil {
		t.Fatal(err)
	}
	for _, update := range config.Updates {
		if update.Ecosystem != "gomod" {
			continue
		}
		if diff := cmp.Diff(modules(t), update.Directories); diff != "" {
			t.Errorf("directories of dependabot.yml (-modules +listed)\n%s", diff)
		}
		return
	}
	t.Error("dependabot.yml has no gomod")
}

// modules returns the directories of the repository's Go modules, sorted, with / for the top.
func modules(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"go.mod", "*/go.mod", "*/*/go.mod", "*/*/*/go.mod"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			relative, err := filepath.Rel(top, filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(relative, "bin/") && !strings.HasPrefix(relative, "dist/") { // build results
				found = append(found, filepath.Clean("/"+relative))
			}
		}
	}
	slices.Sort(found)
	return found
}

// workflowFiles returns the paths of all workflows and composite actions.
func workflowFiles(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"workflows/*.yaml", "workflows/*.yml", "actions/*/action.y*ml"} {
		found, err := filepath.Glob(filepath.Join(top, ".github", pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Fatal("no workflows")
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
