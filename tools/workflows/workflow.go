// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file is a workflow or a composite action, as far as it is checked.
type file struct {
	On          yaml.Node
	Permissions yaml.Node
	Concurrency yaml.Node
	Jobs        map[string]job
	Runs        struct{ Steps []step }
}

type job struct {
	Uses           yaml.Node
	TimeoutMinutes yaml.Node `yaml:"timeout-minutes"`
	Steps          []step
}

type step struct {
	Uses yaml.Node
	Run  string
	With map[string]string
}

var (
	// pinned matches an action at a full commit digest; its comment is the version, which dependabot updates.
	pinned  = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	version = regexp.MustCompile(`^# v\d+(\.\d+)*$`)
)

// check returns the mistakes in a workflow, or in a composite action if it has no jobs.
func check(content []byte) ([]string, error) {
	var f file
	if err := yaml.Unmarshal(content, &f); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	var mistakes []string
	report := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }

	checkSteps("", f.Runs.Steps, report)
	if f.Jobs == nil {
		return mistakes, nil
	}
	checkTop(f, report)
	for _, name := range slices.Sorted(maps.Keys(f.Jobs)) {
		j := f.Jobs[name]
		if !j.Uses.IsZero() {
			checkUses(name, j.Uses, report)
		} else if j.TimeoutMinutes.IsZero() {
			report("job %s has no timeout-minutes", name)
		}
		checkSteps(name, j.Steps, report)
	}
	return mistakes, nil
}

// checkTop checks what holds for all jobs of a workflow.
func checkTop(f file, report func(string, ...any)) {
	var permissions map[string]string
	if f.Permissions.Decode(&permissions) != nil || f.Permissions.IsZero() ||
		len(permissions) > 1 || len(permissions) == 1 && permissions["contents"] != "read" {
		report("the permissions of the workflow are not {} or contents: read: more is for single jobs")
	}
	if f.Concurrency.IsZero() {
		report("the workflow has no concurrency")
	}
	for _, trigger := range []string{"pull_request_target", "workflow_run"} {
		if slices.ContainsFunc(nodes(&f.On), func(n *yaml.Node) bool { return n.Value == trigger }) {
			report("%s runs code of a fork with the token of the repository", trigger)
		}
	}
}

func checkSteps(where string, steps []step, report func(string, ...any)) {
	for i, s := range steps {
		at := strings.TrimSpace(fmt.Sprintf("%s step %d", where, i+1))
		if strings.Contains(s.Run, "${{") {
			report("%s: run has an expression, which becomes part of the script: pass it by env", at)
		}
		if s.Uses.IsZero() {
			continue
		}
		checkUses(at, s.Uses, report)
		if strings.HasPrefix(s.Uses.Value, "actions/checkout@") && s.With["persist-credentials"] != "false" {
			report("%s: checkout without persist-credentials: false leaves its token in .git/config", at)
		}
	}
}

func checkUses(at string, uses yaml.Node, report func(string, ...any)) {
	switch {
	case strings.HasPrefix(uses.Value, "./"):
	case !pinned.MatchString(uses.Value):
		report("%s: %s is not pinned by a full commit digest", at, uses.Value)
	case !version.MatchString(uses.LineComment):
		report("%s: %s has no comment with its version (# v1.2.3)", at, uses.Value)
	}
}

// nodes returns n and all nodes below it.
func nodes(n *yaml.Node) []*yaml.Node {
	all := []*yaml.Node{n}
	for _, child := range n.Content {
		all = append(all, nodes(child)...)
	}
	return all
}
