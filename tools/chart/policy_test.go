// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	corev1 "k8s.io/api/core/v1"
	strict "sigs.k8s.io/yaml"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

// policyFile returns the rendered policy file as the reaper reads it.
func policyFile(t *testing.T, args ...string) policyfile.File {
	t.Helper()
	configMap, ok := render(t, args...)["ConfigMap halfclose-policy"].(*corev1.ConfigMap)
	if !ok || len(configMap.Data) != 1 {
		t.Fatalf("%+v", configMap)
	}
	text := configMap.Data["policy.yaml"]
	file, problems := policyfile.Parse([]byte(text), "policy.yaml")
	if len(problems) > 0 {
		t.Fatalf("the reaper refuses the file: %v\n%s", problems, text)
	}
	return file
}

// values writes a file of values, and returns the arguments that use it.
func values(t *testing.T, text string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--values", name}
}

// modeOf resolves the mode of a pod whose annotation asks for destroy, as its network does.
func modeOf(f policyfile.File, namespace, pod string) policy.Mode {
	annotated := policy.Layers{Annotations: map[string]string{policy.AnnotationPrefix + "mode": "destroy"}}
	return f.Resolve(annotated, policyfile.Facts{Namespace: namespace, Pod: pod}, 0).Policies[0].Mode
}

func TestExcludedNamespacesAreObserved(t *testing.T) {
	const entries = `
    - {match: {namespace: excluded, pod: lifted}, enforce: {mode: destroy}}
    - {match: {namespace: kube-system, pod: lifted}, enforce: {mode: destroy}}
    - {match: {id: "*"}, set: {mode: destroy, rules: [{match: {role: client}, mode: destroy}]}}
`
	file := policyFile(t, values(t, "excludedNamespaces: [excluded, team-*]\npolicy:\n  defaults: {mode: destroy}\n  pods:"+entries)...)
	for pod, want := range map[string]policy.Mode{
		"excluded/any":       policy.Observe, // neither by its annotation, nor by defaults, nor by set
		"team-a/any":         policy.Observe, // a glob
		"kube-system/any":    policy.Observe, // the release's namespace
		"excluded/lifted":    policy.Destroy, // by a later enforce
		"kube-system/lifted": policy.Destroy,
		"shop/any":           policy.Destroy,
	} {
		namespace, name, _ := strings.Cut(pod, "/")
		if got := modeOf(file, namespace, name); got != want {
			t.Errorf("%s has the mode %s, want %s", pod, got, want)
		}
	}
	observed := file.Resolve(policy.Layers{}, policyfile.Facts{Namespace: "excluded", Pod: "any", ID: "1"}, 0).Policies[0]
	if len(observed.Rules) != 1 || *observed.Rules[0].Values.Mode != policy.Observe {
		t.Errorf("a rule exceeds the exclusion: %+v", observed.Rules)
	}
}

func TestTheSourceOfAnExclusionNamesTheValueToChange(t *testing.T) {
	for _, tt := range []struct {
		set  string
		want []string
	}{
		{"excludedNamespaces={kube-system}", []string{"excludedNamespaces kube-system"}},
		{"excludedNamespaces={a,b-*}", []string{"excludedNamespaces a", "excludedNamespaces b-*", "releaseNamespace kube-system"}},
		{"excludedNamespaces=null", []string{"releaseNamespace kube-system"}},
	} {
		var got []string
		for _, e := range policyFile(t, "--set", tt.set).Entries {
			got = append(got, e.Name+" "+e.Match.Namespace)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.set, got, tt.want)
		}
	}
}

func TestTheFirstInstallChangesNoPolicyButTheExclusions(t *testing.T) {
	file := policyFile(t)
	if file.Defaults != nil || file.PodOverrides != policy.OverridesAny || len(file.Entries) != 1 || modeOf(file, "shop", "web") != policy.Destroy {
		t.Errorf("%+v", file)
	}
}

// TestThePolicyFileHasTheValues has what YAML and Helm may change on the way: off, numbers, and large numbers.
func TestThePolicyFileHasTheValues(t *testing.T) {
	file := policyFile(t, values(t, `
policy:
  podOverrides: relax
  defaults: {grace: 30m, closeWaitGrace: never, probeCount: 3, exempt: [{uids: 1000660000, peerPorts: 5432}]}
  pods:
    - name: payments
      match: {namespace: "payments-*", pod: "api-*", network: "*", id: "*"}
      set:
        mode: "off"
        rules:
          - {match: {state: CLOSE_WAIT, localPorts: "80,443"}, above: 1000000, askSigpipe: true}
      enforce: {probeInterval: 15s, clock: state}
`)...)
	if file.PodOverrides != policy.OverridesRelax {
		t.Errorf("podOverrides is %s", file.PodOverrides)
	}
	d := file.Defaults
	if d.Source != "policy.yaml:defaults (line 3)" || fmt.Sprint(*d.Grace, *d.CloseWaitGrace, *d.ProbeCount) != "30m never 3" ||
		d.Exempt[0].UIDs[0] != (policy.UIDRange{First: 1000660000, Last: 1000660000}) || d.Exempt[0].PeerPorts.String() != "5432" {
		t.Errorf("defaults are %+v", d)
	}
	e := file.Entries[len(file.Entries)-1]
	if e.Name != "payments" || e.Match != (policyfile.Match{Namespace: "payments-*", Pod: "api-*", Network: "*", ID: "*"}) {
		t.Errorf("the entry is %+v", e)
	}
	if r := e.Set.Rules[0]; *e.Set.Mode != policy.Off || *r.Values.Above != 1000000 || !*r.Values.AskSigpipe || r.Match.LocalPorts.String() != "80,443" {
		t.Errorf("set is %+v", e.Set)
	}
	if fmt.Sprint(*e.Enforce.ProbeInterval, *e.Enforce.Clock) != "15s state" {
		t.Errorf("enforce is %+v", e.Enforce)
	}
}

// TestTheSchemaAndTheReaperAgree compares the schema with the parser of the policy file: whatever the schema allows here, the
// reaper reads.
func TestTheSchemaAndTheReaperAgree(t *testing.T) {
	type claim struct {
		policy string
		valid  bool
	}
	var claims []claim
	for _, layer := range []struct {
		text  string
		valid bool
	}{
		{`mode: destroy`, true},
		{`mode: "off"`, true},
		{`mode: kill`, false},
		{`mode: off`, false}, // a boolean for Helm
		{`probeAfter: 90s`, true},
		{`probeAfter: never`, true},
		{`probeAfter: soon`, false},
		{`probeAfter: 90`, false},
		{`probeCount: 9`, true},
		{`probeCount: 0`, false},
		{`probeCount: 128`, false},
		{`probeInterval: 1m`, true},
		{`probeInterval: 500ms`, false},
		{`probeInterval: never`, false},
		{`probeInterval: 0s`, false},
		{`grace: 1h30m`, true},
		{`grace: -1h`, false},
		{`grase: 1h`, false},
		{`closeWaitGrace: 1.5h`, true},
		{`closeWaitGrace: long`, false},
		{`finWait2Grace: 500ms`, true},
		{`finWait2Grace: long`, false},
		{`pendingGrace: 10ms`, true},
		{`pendingGrace: 0s`, false},
		{`pendingGrace: keep`, false},
		{`pendingData: keep`, false},
		{`clock: state`, true},
		{`clock: wall`, false},
		{`podOverrides: none`, false},
		{`failurePolicy: fail`, false},
		{`reaper: auto`, false},
		{`capabilities: {}`, false},
		{`exempt: [{localPorts: 22}, {loopback: true}, {peers: 10.0.0.0/8, role: server}]`, true},
		{`exempt: [{port: 22}]`, false},
		{`exempt: [{}]`, false},
		{`exempt: [{role: peer}]`, false},
		{`rules: [{match: {commands: [postgres]}, mode: "off"}, {match: {state: FIN_WAIT2}, finWait2Grace: 1h, above: 1}]`, true},
		{`rules: [{match: {role: client}}]`, false},
		{`rules: [{grace: 1h}]`, false},
		{`rules: [{match: {}, grace: 1h}]`, false},
		{`rules: [{match: {commands: []}, grace: 1h}]`, false},
		{`rules: [{match: {role: client}, above: 0}]`, false},
		{`rules: [{match: {role: client}, probeCount: 3}]`, false},
	} {
		claims = append(claims,
			claim{"defaults: {" + layer.text + "}", layer.valid},
			claim{"pods: [{match: {pod: x}, set: {" + layer.text + "}}]", layer.valid},
			claim{"pods: [{match: {pod: x}, enforce: {" + layer.text + "}}]", layer.valid})
	}
	claims = append(claims,
		claim{`podOverrides: none`, true},
		claim{`podOverrides: some`, false},
		claim{`pods: [{name: x, match: {namespace: a, pod: b, network: c/d, id: e}, set: {}}]`, true},
		claim{`pods: [{match: {pod: x}}]`, false},
		claim{`pods: [{set: {grace: 1h}}]`, false},
		claim{`pods: [{match: {}, set: {grace: 1h}}]`, false},
		claim{`pods: [{match: {pod: ""}, set: {grace: 1h}}]`, false},
		claim{`pods: [{match: {pod: a/b}, set: {grace: 1h}}]`, false},
		claim{`pods: [{match: {label: x}, set: {grace: 1h}}]`, false},
		claim{`pods: [{name: "", match: {pod: x}, set: {grace: 1h}}]`, false},
		claim{`pods: {}`, false},
		claim{`version: 2`, false},
	)
	schema := valuesSchema(t)
	for _, c := range claims {
		text, err := strict.YAMLToJSON([]byte("{" + c.policy + "}"))
		if err != nil {
			t.Fatal(err)
		}
		values, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"policy":` + string(text) + "}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(values); (err == nil) != c.valid {
			t.Errorf("{%s}: valid is %v, want %v: %v", c.policy, !c.valid, c.valid, err)
		}
		if !c.valid {
			continue
		}
		if _, problems := policyfile.Parse([]byte(`{"version":1,`+string(text[1:])), "policy.yaml"); len(problems) > 0 {
			t.Errorf("{%s}: the schema allows it, and the reaper does not: %v", c.policy, problems)
		}
	}
}

// valuesSchema compiles values.schema.json with Helm's library.
func valuesSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(chartFile(t, "values.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("values", text); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("values")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
