// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

const second = policy.Patience(time.Second)

// parse parses a file that has no mistakes.
func parse(t testing.TB, text string) *policyfile.File {
	t.Helper()
	f, problems := policyfile.Parse([]byte(text), "policy.yaml")
	if len(problems) > 0 {
		t.Fatalf("%s\n%v", text, problems)
	}
	return &f
}

const example = `version: 1
defaults: {grace: 30m}
podOverrides: relax
pods:
  - name: payments
    match: {namespace: "payments-*", pod: "api-*"}
    set: {probeAfter: 5m, rules: [{match: {localPorts: 443, role: client}, mode: off}]}
  - match: {namespace: kube-system}
    enforce: {mode: observe}
`

func TestAFileHasDefaultsAndEntriesWithTheirSources(t *testing.T) {
	f := parse(t, example)
	if f.Defaults == nil || *f.Defaults.Grace != 1800*second || f.Defaults.Source != "policy.yaml:defaults (line 2)" {
		t.Errorf("defaults = %+v", f.Defaults)
	}
	if f.PodOverrides != policy.OverridesRelax || len(f.Entries) != 2 {
		t.Fatalf("podOverrides %v, %d entries", f.PodOverrides, len(f.Entries))
	}
	first, last := f.Entries[0], f.Entries[1]
	if first.Source != "policy.yaml:payments (line 5)" || *first.Set.ProbeAfter != 300*second || first.Enforce != nil {
		t.Errorf("first entry = %+v", first)
	}
	if r := first.Set.Rules[0]; *r.Values.Mode != policy.Off || r.Match.Role != policy.RoleClient || r.Match.LocalPorts.String() != "443" {
		t.Errorf("rule = %+v: off and 443 are what they say", r)
	}
	if last.Source != "policy.yaml:pods[1] (line 8)" || *last.Enforce.Mode != policy.Observe || last.Set != nil {
		t.Errorf("last entry = %+v", last)
	}
}

func TestScalarsAreReadAsText(t *testing.T) {
	f := parse(t, `version: 1
pods:
- name: 0x10
  match: {pod: 443, id: on}
  set:
    mode: off
    probeCount: 6
    exempt: [{localPorts: 22, loopback: true}, {uids: 1000, commands: [null, 8080, yes]}]
    rules: [{match: {peerPorts: 8000-8999}, above: 1000, askSigpipe: false}, {match: {state: CLOSE_WAIT}, grace: never}]
`)
	e := f.Entries[0]
	if e.Name != "0x10" || e.Match != (policyfile.Match{Pod: "443", ID: "on"}) {
		t.Errorf("entry = %+v", e)
	}
	if *e.Set.Mode != policy.Off || *e.Set.ProbeCount != 6 || !e.Set.Exempt[0].Loopback || *e.Set.Rules[0].Values.Above != 1000 {
		t.Errorf("set = %+v", e.Set)
	}
	if diff := cmp.Diff([]string{"null", "8080", "yes"}, e.Set.Exempt[1].Commands); diff != "" {
		t.Error(diff)
	}
}

func TestEveryMistakeHasLineColumnAndKey(t *testing.T) {
	text := `version: 1
defaults: {grase: 30m, mode: destroyed}
podOverrides: relaxed
pod: []
pods:
  - name: payments
    match: {namespace: "payments-[", labels: x}
    set:
      grace: 10
      rules:
        - match: {localPorts: 99999}
          grace: 1m
        - grace: 1m
  - enforce: {mode: observe}
  - match: {}
    set: {mode: off}
    enforce: {mode: off, mode: observe}
  - match: {id: "*"}
  - text
`
	want := []string{
		`f:2:12: defaults.grase: unknown key, did you mean "grace"?`,
		`f:2:24: defaults.mode: unknown mode "destroyed", did you mean "destroy"?`,
		`f:3:15: podOverrides: unknown podOverrides "relaxed", did you mean "relax"?`,
		`f:4:1: pod: unknown key, did you mean "pods"?`,
		`f:7:24: pods[0].match.namespace: "payments-[" is not a glob: a [ must be closed, or escaped as \[`,
		`f:7:38: pods[0].match.labels: unknown key: want one of namespace, pod, network, id`,
		`f:9:7: pods[0].set.grace: "10" has no unit: write "10s"`,
		`f:11:19: pods[0].set.rules[0].match.localPorts: `,
		`f:13:11: pods[0].set.rules[1]: "match" is missing: which sockets is the rule for?`,
		`f:14:5: pods[1]: match is missing: which pods is the entry for?`,
		`f:15:12: pods[2].match: want at least one of namespace, pod, network and id: write id: "*" to match every attachment`,
		`f:17:26: pods[2].enforce.mode: given more than once`,
		`f:18:5: pods[3]: an entry without set and enforce changes nothing: give it one`,
		`f:19:5: pods[4]: want a mapping of name, match, set, enforce, got the text "text"`,
	}
	f, problems := policyfile.Parse([]byte(text), "policy.yaml")
	if diff := cmp.Diff(policyfile.File{}, f); diff != "" {
		t.Errorf("a wrong file has values: %s", diff)
	}
	for i, p := range problems {
		if got := p.At("f"); i >= len(want) || !strings.HasPrefix(got, want[i]) {
			t.Errorf("got  %s\nwant %s", got, want[min(i, len(want)-1)])
		}
	}
	if len(problems) != len(want) {
		t.Errorf("%d problems, want %d", len(problems), len(want))
	}
}

func TestWhatAFileMayNotHave(t *testing.T) {
	entries := func(n int) string {
		return "version: 1\npods:\n" + strings.Repeat("- {match: {id: a}, set: {mode: off}}\n", n)
	}
	parse(t, entries(policyfile.MaxEntries))
	for _, tt := range []struct{ text, want string }{
		{"", `the file is empty: write "version: 1" and "pods: []" for a file without entries`},
		{"# only a comment\n", `the file is empty: `},
		{"\n---\n...\n", `the file is empty: `},
		{"version: 1\n", `line 1: it has no entries: write "version: 1" and "pods: []"`},
		{"pods: []\n", `line 1: version is missing: write "version: 1"`},
		{"version: 2\npods: []\nlater: key\n", `line 1, version: version "2" is unknown: this halfclose reads version 1`},
		{"version: 1\npods:\n", `line 2, pods: want a list of entries, got nothing: write "pods: []" for none`},
		{"version: 1\npods: {a: b}\n", `line 2, pods: want a list of entries, got a mapping`},
		{"version: 1\npods: []\n---\nversion: 1\npods: []\n", `a second document: only one is allowed`},
		{"version: 1\ndefaults: &a {grace: 1m}\npods: []\n", `line 2, defaults: anchors (&a) are not allowed`},
		{"version: 1\ndefaults: {rules: &a [], exempt: *a}\npods: []\n", `line 2, defaults.rules: anchors (&a) are not allowed`},
		{"version: 1\ndefaults: {<<: {grace: 1m}}\npods: []\n", `line 2, defaults["<<"]: merge keys (<<) are not allowed`},
		{"version: 1\ndefaults: {grace: !!str 1m}\npods: []\n", `line 2, defaults.grace: tags (!!str) are not allowed`},
		{"version: 1\npods: [}\n", `line 2: not YAML: `},
		{"version: 1\n\tpods: []\n", `line 2: not YAML: `},
		{"version: 1\ndefaults: [" + strings.Repeat("[", 9999), `not YAML: `},
		{"version: 1\ndefaults: {rules: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}\npods: []\n", `more than 32 levels of lists and mappings`},
		{"version: 1\ndefaults:\npods: []\n", `line 2, defaults: want policy values such as {grace: 30m}, got nothing`},
		{"version: 1\ndefaults: {mode: }\npods: []\n", `line 2, defaults.mode: want a string such as "destroy", got null`},
		{"version: 1\ndefaults: {podOverrides: none}\npods: []\n", `line 2, defaults.podOverrides: unknown key`},
		{entries(policyfile.MaxEntries + 1), `line 3, pods: 1001 entries, at most 1000 are allowed`},
		{"version: 1\npods: []\n" + strings.Repeat("#\n", policyfile.MaxBytes/2), `the file has more than 262144 bytes`},
		{"version: 1\npods: [{match: {pod: shop/web}, set: {mode: off}}]", `line 2, pods[0].match.pod: "shop/web" has a /: give namespace and pod separately`},
		{"version: 1\npods: [{name: \"a\\x1b\", match: {pod: web}, set: {mode: off}}]", `line 2, pods[0].name: "a\x1b" has characters that cannot be printed`},
	} {
		f, problems := policyfile.Parse([]byte(tt.text), "policy.yaml")
		if !strings.Contains(problems.Error(), tt.want) || !f.IsEmpty() {
			t.Errorf("%.80q: %v\nwant %s", tt.text, problems, tt.want)
		}
	}
}

func TestNoEntriesIsAFileThatChangesNothing(t *testing.T) {
	if f := parse(t, policyfile.NoEntries); !f.IsEmpty() {
		t.Errorf("got %+v", f)
	}
	if f := parse(t, "version: 1\ndefaults: {mode: observe}\n"); f.IsEmpty() {
		t.Error("a file with defaults alone is taken for empty")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		example, policyfile.NoEntries, "version: 1\npods: [{match: {id: '*'}, set: &a {mode: off}}, *a]", "a: !!b [c, {<<: d}]\n--- e", "? [a]\n: {b: |\n c\n}",
		"version: 1\ndefaults: {exempt: [{localPorts: 22}], rules: [{match: {state: FIN_WAIT2}, above: 9}]}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := policyfile.Parse(data, "policy.yaml")
		if len(problems) > 0 && !cmp.Equal(file, policyfile.File{}) {
			t.Errorf("a wrong file has values: %+v", file)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line > strings.Count(string(data), "\n")+strings.Count(string(data), "\r")+strings.Count(string(data), "\u2028")+strings.Count(string(data), "\u2029")+strings.Count(string(data), "\u0085")+1 {
				t.Errorf("problem %+v", p)
			}
		}
		// A valid file resolves for any attachment.
		r := file.Resolve(policy.Layers{}, policyfile.Facts{Namespace: "shop", Pod: "web", Network: "net", ID: "1"}, time.Second)
		if len(r.Policies) == 0 {
			t.Error("no policy")
		}
	})
}
