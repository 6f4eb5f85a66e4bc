// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// policyFile is the policy file of a node.
type policyFile struct {
	t    *testing.T
	path string
}

// withPolicyFile makes a node's reaper read a policy file, whose path counts as the default one.
func withPolicyFile(t *testing.T, n *node) (policyFile, func(*reaper.Config)) {
	t.Helper()
	f := policyFile{t, filepath.Join(t.TempDir(), "policy.yaml")}
	return f, func(c *reaper.Config) {
		c.PolicyFile = policyfile.Location{Path: f.path, Copy: filepath.Join(n.store.Dir(), "policy.json")}
	}
}

// write replaces the file at once, as editors and the kubelet do.
func (f policyFile) write(format string, args ...any) {
	f.t.Helper()
	if err := os.WriteFile(f.path+".new", fmt.Appendf(nil, format, args...), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		f.t.Fatal(err)
	}
}

// awaitPolicyFile waits until the reaper has taken in the policy file.
func (n *node) awaitPolicyFile(what string, is func(api.PolicyFileView) bool) api.PolicyFileView {
	n.tb.Helper()
	var last api.PolicyFileView
	nstest.Eventually(n.tb, patience, what, func() bool { last = n.status().PolicyFile; return is(last) })
	return last
}

func (n *node) awaitPolicyFileState(want string) api.PolicyFileView {
	n.tb.Helper()
	return n.awaitPolicyFile("the policy file is "+want, func(v api.PolicyFileView) bool { return v.State == want })
}

// leakIn leaves both ends of a connection half-closed.
func leakIn(t *testing.T, ns *nstest.NS) nstest.Pair {
	t.Helper()
	return shut(t, ns.Connect(t, nstest.IPv4))
}

// awaitLeakDestroyed waits until an end of the connection was destroyed, which closes the other one.
func (n *node) awaitLeakDestroyed(p nstest.Pair) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "an end is destroyed", func() bool {
		_, client := n.entry(p.Client, "destroyed")
		_, server := n.entry(p.Server, "destroyed")
		return client || server
	})
}

// sourceOf returns the grace of a pod in CLOSE_WAIT, and its source.
func (n *node) sourceOf(pod string) (grace policy.Patience, source string) {
	n.tb.Helper()
	list, err := n.Policies(context.Background(), api.PodQuery{Pod: pod})
	if err != nil || len(list.Policies) != 1 {
		n.tb.Fatalf("policies of %s: %+v, %v", pod, list, err)
	}
	p := list.Policies[0].Policies[0]
	return p.Policy.CloseWaitGrace, p.Sources["closeWaitGrace"]
}

func TestThePolicyFileChangesRunningPods(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		n := offNode(t)
		file, with := withPolicyFile(t, n)
		one, neighbour := newNS(t), newNS(t)
		pod := n.register(one, policy.Default()).Pod.String()
		other := n.register(neighbour, policy.Default()).Pod.String()
		leak, stays := leakIn(t, one), leakIn(t, neighbour)
		n.start(finder, with)
		n.awaitVerdict(leak.Server, policy.WithinGrace)
		n.awaitVerdict(stays.Server, policy.WithinGrace)
		if v := n.status().PolicyFile; v.State != api.PolicyFileAbsent || v.Path != file.path || v.Errors != 0 {
			t.Errorf("without a file: %+v", v)
		}

		// The grace of one pod: 1h -> 1s.
		const entry = "version: 1\npods:\n- name: leaky\n  match: {pod: %s}\n  set: {grace: 1s}\n"
		name := strings.TrimPrefix(pod, "default/")
		file.write(entry, name)
		n.awaitLeakDestroyed(leak)
		inForce := n.awaitPolicyFileState(api.PolicyFileInForce)
		if inForce.Entries != 1 || inForce.SHA256 == "" || inForce.Since.IsZero() || inForce.Errors != 0 {
			t.Errorf("in force: %+v", inForce)
		}
		if grace, source := n.sourceOf(pod); grace.String() != "1s" || source != "policy.yaml:leaky (line 3)" {
			t.Errorf("the grace is %v of %s", grace, source)
		}

		// A typo, an empty file and a deletion: nothing changes, also over a restart.
		check := func(what, problem string) {
			t.Helper()
			v := n.awaitPolicyFile(what, func(v api.PolicyFileView) bool { return v.Errors > 0 })
			if v.State != api.PolicyFileLastGood || v.SHA256 != inForce.SHA256 || v.Since != inForce.Since || v.Entries != 1 {
				t.Errorf("%s: %+v", what, v)
			}
			if len(v.Problems) != 1 || !strings.HasPrefix(policyfile.Problem(v.Problems[0]).String(), problem) {
				t.Errorf("%s: %+v, want %s", what, v.Problems, problem)
			}
			m, err := n.Metrics(t.Context())
			if err != nil || m.PolicyFileErrors != 1 || m.Warnings[reaper.WarnPolicyFile] != 1 {
				t.Errorf("%s: %d errors, %d warnings, %v", what, m.PolicyFileErrors, m.Warnings[reaper.WarnPolicyFile], err)
			}
			n.awaitLeakDestroyed(leakIn(t, one))
		}
		restart := func() {
			t.Helper()
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			n.start(finder, with)
		}
		file.write(entry+"  grase: 1s\n", name)
		check("a typo", `line 6, pods[0].grase: unknown key`)
		restart()
		check("a typo, after a restart", `line 6, pods[0].grase: unknown key`)
		file.write("")
		restart()
		check("an empty file", `the file is empty: write "version: 1" and "pods: []"`)
		if err := os.Remove(file.path); err != nil {
			t.Fatal(err)
		}
		restart()
		check("a deleted file", `the file was deleted: restore it, or write "version: 1" and "pods: []"`)

		// No entries: as before the file.
		file.write(policyfile.NoEntries)
		n.awaitPolicyFileState(api.PolicyFileInForce)
		kept := leakIn(t, one)
		n.awaitVerdict(kept.Server, policy.WithinGrace)
		for _, pod := range []string{pod, other} {
			if grace, source := n.sourceOf(pod); grace.String() != "1h" || source != policy.SourceNetwork {
				t.Errorf("the grace of %s is %v of %s", pod, grace, source)
			}
		}
		n.awaitVerdict(stays.Server, policy.WithinGrace)
	})
}

func TestAPodsGraceNeverStandsAgainstSetAndNotAgainstEnforce(t *testing.T) {
	t.Parallel()
	n := offNode(t)
	file, with := withPolicyFile(t, n)
	ns := newNS(t)
	r := n.record(ns, policy.Default())
	r.Layers.Annotations = map[string]string{policy.AnnotationGrace: "never"}
	put(t, n, r)
	leak := leakIn(t, ns)
	file.write("version: 1\npods:\n- match: {namespace: default}\n  set: {grace: 1s}\n")
	n.start("sockdiag", with)
	n.awaitVerdict(leak.Server, policy.GraceNever)
	file.write("version: 1\npods:\n- match: {namespace: default}\n  enforce: {grace: 1s}\n")
	n.awaitLeakDestroyed(leak)
}

func TestAWrongFileWithoutALastGoodOneCapsAtObserve(t *testing.T) {
	t.Parallel()
	n := offNode(t)
	file, with := withPolicyFile(t, n)
	ns := newNS(t)
	n.register(ns, short())
	leak := leakIn(t, ns)
	file.write("version: 1\npods: [")
	n.start("sockdiag", with)
	n.awaitVerdict(leak.Server, policy.WouldDestroy)
	v := n.awaitPolicyFileState(api.PolicyFileNone)
	if len(v.Problems) != 1 || v.Problems[0].Line != 2 {
		t.Errorf("problems %+v", v.Problems)
	}
	if a := n.status().Attachments[0]; a.Sources["mode"] != policyfile.SourceWrong {
		t.Errorf("the mode is of %q", a.Sources["mode"])
	}
	file.write(policyfile.NoEntries)
	n.awaitLeakDestroyed(leak)
}

func TestPoliciesShowsBothPoliciesAndTheSourceOfEachRule(t *testing.T) {
	t.Parallel()
	n := offNode(t)
	file, with := withPolicyFile(t, n)
	ns := newNS(t)
	r := n.record(ns, policy.Default())
	r.Layers.Network.Rules = []policy.Rule{{Match: policy.Match{Role: policy.RoleServer}, Values: policy.Values{Grace: new(policy.Never)}}}
	r.Layers.Annotations = map[string]string{policy.AnnotationRules: `[{"match": {"role": "client"}, "grace": "2m"}]`}
	put(t, n, r)
	file.write("version: 1\npodOverrides: relax\npods:\n- match: {id: '*'}\n  enforce: {rules: [{match: {commands: [sshd]}, mode: off}]}\n")
	n.start("sockdiag", with)
	nstest.Eventually(t, patience, "it is registered", func() bool { return len(n.status().Attachments) == 1 })
	list, err := n.Policies(t.Context(), api.PodQuery{Pod: r.Pod.Name})
	if err != nil || len(list.Policies) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	p := list.Policies[0]
	if p.PodOverrides != policy.OverridesRelax || !cmp.Equal(p.Entries, []string{"policy.yaml:pods[0] (line 4)"}) {
		t.Errorf("podOverrides %v, entries %q", p.PodOverrides, p.Entries)
	}
	got := make(map[string][]string)
	for _, one := range p.Policies {
		got[one.Annotations] = one.RuleSources
	}
	want := map[string][]string{
		"without": {"policy.yaml:pods[0] (line 4)", policy.SourceNetwork},
		"with":    {"policy.yaml:pods[0] (line 4)", "annotation halfclose.cni/rules"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
