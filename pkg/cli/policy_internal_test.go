// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestPolicyCheckListsEveryMistakeAndExitsWith1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	for _, tt := range []struct {
		text           string
		code           int
		stdout, stderr string
	}{
		{policyfile.NoEntries, 0, path + ": no mistakes (0 entries)\n", ""},
		{
			"version: 1\ndefaults: {grace: 1m}\npodOverrides: none\npods: [{match: {pod: a}, set: {mode: off}}]\n", 0,
			path + ": no mistakes (1 entry, defaults, podOverrides none)\n", "",
		},
		{
			"version: 1\ndefaults: {grace: 10}\npods: [{match: {pod: a}, set: {grase: 1m}}]\n", 1,
			path + ":2:12: defaults.grace: \"10\" has no unit: write \"10s\"\n" +
				path + ":3:32: pods[0].set.grase: unknown key, did you mean \"grace\"?\n",
			"halfclose: 2 mistakes in " + path + "\n",
		},
		{"", 1, path + ": the file is empty: write \"version: 1\" and \"pods: []\" for a file without entries\n", "halfclose: 1 mistake in " + path + "\n"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := call(t, nil, "policy", "check", path)
		if diff := cmp.Diff([]any{tt.code, tt.stdout, tt.stderr}, []any{code, stdout, stderr}); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.text, diff)
		}
		if code, stdout, _ := call(t, nil, "policy", "check", path, "-o", "json"); code != tt.code || !strings.Contains(stdout, `"problems": [`) {
			t.Errorf("%q as JSON: exit code %d\n%s", tt.text, code, stdout)
		}
	}
	if code, _, stderr := call(t, nil, "policy", "check", path+".absent"); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("an absent file: exit code %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"policy"}, {"policy", "check"}, {"policy", "show"}, {"policy", "list"}} {
		if code, _, _ := call(t, nil, args...); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

// ofOnePolicy returns the policies of a pod with annotations under podOverrides relax.
func ofOnePolicy(t *testing.T) api.PolicyList {
	t.Helper()
	file, problems := policyfile.Parse([]byte("version: 1\npodOverrides: relax\npods:\n- name: shop\n  match: {namespace: shop}\n"+
		"  set: {probeAfter: 5m}\n  enforce: {rules: [{match: {commands: [sshd]}, mode: off}]}\n"), "policy.yaml")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	pod := state.Pod{Namespace: "shop", Name: "web-1"}
	r := file.Resolve(policy.Layers{Annotations: map[string]string{
		policy.AnnotationGrace: "2h", policy.AnnotationRules: `[{"match": {"role": "server"}, "grace": "never"}]`,
	}}, policyfile.Facts{Namespace: pod.Namespace, Pod: pod.Name, Network: "pods", ID: "1"}, 0)
	e := api.EffectivePolicy{
		Attachment: state.Attachment{ContainerID: "0123456789abcdef", IfName: "eth0"}, Network: "pods", Pod: pod, Mode: policy.Observe,
		CappedBy: []string{"the switch, set to observe by alice"}, PodOverrides: policy.OverridesRelax, Entries: []string{"policy.yaml:shop (line 4)"},
	}
	for i, p := range r.Policies {
		one := api.SourcedPolicy{Annotations: []string{"without", "with"}[i], Policy: api.PolicyView(p), Sources: p.Sources}
		for j := range p.Rules {
			one.RuleSources = append(one.RuleSources, p.RuleSource(j))
		}
		e.Policies = append(e.Policies, one)
	}
	return api.PolicyList{
		PolicyFile: api.PolicyFileView{Path: "/etc/halfclose/policy.yaml", State: api.PolicyFileInForce, Entries: 1, SHA256: "0123456789ab", Since: apitest.Then()},
		Policies:   []api.EffectivePolicy{e},
	}
}

func TestPolicyShowHasTheSourceOfEachValueAndRule(t *testing.T) {
	show := func(e *env) error { return e.printEffectivePolicies(ofOnePolicy(t)) }
	golden.Text(t, "policy-show", shown(t, show))
	for _, width := range []int{40, 60, 80, 132} {
		termtest.CheckWidth(t, width, shownAt(t, width, show))
	}
}

func TestStatusSaysWhichPolicyFileIsInForce(t *testing.T) {
	for _, tt := range []struct {
		file api.PolicyFileView
		want []string
	}{
		{api.PolicyFileView{Path: "/p.yaml", State: api.PolicyFileAbsent}, nil},
		{
			api.PolicyFileView{Path: "/p.yaml", State: api.PolicyFileInForce, Entries: 2, SHA256: "0123", Since: apitest.Then()},
			[]string{"Policies  /p.yaml (2 entries, sha256 0123, since 2026-01-02T03:04:05Z)"},
		},
		{
			api.PolicyFileView{
				Path: "/p.yaml", State: api.PolicyFileLastGood, Entries: 2, SHA256: "0123", Since: apitest.Then(), Errors: 2,
				Problems: []api.PolicyFileProblem{{Line: 5, Column: 3, Key: "pods[0].set.grase", Message: "unknown key"}},
			},
			[]string{
				"Policies  last good content of /p.yaml (2 entries, sha256 0123, since 2026-01-02T03:04:05Z): the file has 2 errors",
				"! /p.yaml, line 5, pods[0].set.grase: unknown key", "! /p.yaml: and 1 more", "until then its last good content stays in force",
			},
		},
		{
			api.PolicyFileView{Path: "/p.yaml", State: api.PolicyFileNone, Errors: 1, Problems: []api.PolicyFileProblem{{Message: "the file is empty"}}},
			[]string{
				"Policies  none: /p.yaml has 1 error and no last good content, so every pod is only observed",
				"! /p.yaml: the file is empty", "until then every pod is only observed",
			},
		},
	} {
		s := apitest.QuietStatus()
		s.PolicyFile = tt.file
		text := shownAt(t, 0, func(e *env) error { return e.printStatus(s, statusView{}) })
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: no %q in\n%s", tt.file, want, text)
			}
		}
		if tt.want == nil && strings.Contains(text, "Policies") {
			t.Errorf("without a file:\n%s", text)
		}
	}
}
