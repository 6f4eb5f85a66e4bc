// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

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
	show := func(p *Printer) error { return p.PrintPolicies(new(ofOnePolicy(t))) }
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
		text := shownAt(t, 0, func(p *Printer) error { return p.PrintStatus(&s, StatusParts{}, Findings{}) })
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
