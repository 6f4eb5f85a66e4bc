// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

// web is the attachment of most tests.
var web = policyfile.Facts{Namespace: "shop", Pod: "web-1", Network: "pods", ID: "0123456789ab"}

// resolve resolves a network's policy, annotations and a policy file for web.
func resolve(t testing.TB, network, file string, annotations ...string) policy.Resolved {
	t.Helper()
	n, problems := policy.ParseNetwork([]byte(network))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	all := make(map[string]string)
	for i := 0; i < len(annotations); i += 2 {
		all[policy.AnnotationPrefix+annotations[i]] = annotations[i+1]
	}
	return parse(t, file).Resolve(n.Layers(all), web, 0)
}

// entries returns a policy file in which each entry matches web.
func entries(list ...string) string {
	return "version: 1\npods:\n- {match: {pod: web-*}, " + strings.Join(list, "}\n- {match: {pod: web-*}, ") + "}\n"
}

func TestEachGlobMustMatch(t *testing.T) {
	registered := policyfile.Facts{Network: "(manual)", ID: "web"}
	for _, tt := range []struct {
		match string
		want  []policyfile.Facts
	}{
		{"namespace: shop", []policyfile.Facts{web}},
		{"namespace: 'sho?'", []policyfile.Facts{web}},
		{"namespace: '*'", []policyfile.Facts{web}}, // not what has no pod
		{"namespace: sh", nil},
		{"namespace: SHOP", nil},
		{"pod: 'web-*'", []policyfile.Facts{web}},
		{"pod: '*[0-9]'", []policyfile.Facts{web}},
		{"namespace: shop, pod: 'api-*'", nil},
		{"network: pods", []policyfile.Facts{web}},
		{"id: '0123*'", []policyfile.Facts{web}},
		{"id: web", []policyfile.Facts{registered}},
		{"id: '*'", []policyfile.Facts{web, registered}},
		{"network: '*'", []policyfile.Facts{web, registered}},
	} {
		f := parse(t, "version: 1\npods: [{match: {"+tt.match+"}, set: {mode: off}}]")
		for _, facts := range []policyfile.Facts{web, registered} {
			if got := f.Entries[0].Match.Matches(facts); got != slices.Contains(tt.want, facts) {
				t.Errorf("%s matches %+v: %v", tt.match, facts, got)
			}
		}
	}
	if (policyfile.Match{}).Matches(web) {
		t.Error("a match without globs matches")
	}
}

func TestLayersAreInTheOrderOfTheFile(t *testing.T) {
	file := "version: 1\ndefaults: {grace: 1m, clock: state}\npods:\n" +
		"- {match: {pod: web-1}, set: {grace: 2m, probeAfter: 2m}, enforce: {pendingGrace: 2m}}\n" +
		"- {match: {pod: web-2}, set: {grace: 9m}, enforce: {grace: 9m}}\n" +
		"- {match: {namespace: shop}, set: {probeAfter: 3m}, enforce: {pendingGrace: 3m, mode: observe}}\n"
	p := resolve(t, `{"grace": "5m", "probeAfter": "5m", "probeCount": 9}`, file, "probe-after", "4m", "pending-grace", "4m").Policies[0]
	want := map[string]string{
		"closeWaitGrace": "2m policy.yaml:pods[0] (line 4)", "clock": "state policy.yaml:defaults (line 2)",
		"probeAfter": "4m annotation halfclose.cni/probe-after", "pendingGrace": "3m policy.yaml:pods[2] (line 6)",
		"mode": "observe policy.yaml:pods[2] (line 6)", "probeCount": "9 network", "rules": "[] built-in",
	}
	got := map[string]string{
		"closeWaitGrace": p.CloseWaitGrace.String(), "clock": p.Clock.String(), "probeAfter": p.ProbeAfter.String(),
		"pendingGrace": p.PendingGrace.String(), "mode": p.Mode.String(), "probeCount": fmt.Sprint(p.ProbeCount), "rules": fmt.Sprint(p.Rules),
	}
	for key := range got {
		got[key] += " " + p.Sources[key]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAPodsGraceNeverStandsAgainstSetOnly(t *testing.T) {
	if p := resolve(t, `{}`, entries("set: {grace: 1s}"), "grace", "never").Policies[0]; p.CloseWaitGrace != policy.Never {
		t.Errorf("set: %v", p.CloseWaitGrace)
	}
	if p := resolve(t, `{}`, entries("enforce: {grace: 1s}"), "grace", "never").Policies[0]; p.CloseWaitGrace != second {
		t.Errorf("enforce: %v", p.CloseWaitGrace)
	}
}

// ruleTexts returns each rule of a policy with its source.
func ruleTexts(p *policy.Policy) (texts []string) {
	for i := range p.Rules {
		text, _ := p.Rules[i].MarshalJSON()
		texts = append(texts, string(text)+" "+p.RuleSource(i))
	}
	return texts
}

func TestListsReplaceAndEnforcedRulesComeFirst(t *testing.T) {
	const network = `{"rules": [{"match": {"role": "server"}, "grace": "1m"}], "exempt": [{"localPorts": "22"}]}`
	p := resolve(t, network, entries("set: {rules: [{match: {role: client}, grace: 2m}], exempt: []}",
		"enforce: {rules: [{match: {state: CLOSE_WAIT}, grace: 3m}]}", "enforce: {rules: [{match: {state: FIN_WAIT2}, grace: 4m}]}")).Policies[0]
	want := []string{
		`{"match":{"state":"FIN_WAIT2"},"grace":"4m"} policy.yaml:pods[2] (line 5)`,
		`{"match":{"state":"CLOSE_WAIT"},"grace":"3m"} policy.yaml:pods[1] (line 4)`,
		`{"match":{"role":"client"},"grace":"2m"} policy.yaml:pods[0] (line 3)`,
	}
	if diff := cmp.Diff(want, ruleTexts(&p)); diff != "" || len(p.Exempt) != 0 {
		t.Errorf("exempt %v, rules (-want +got)\n%s", p.Exempt, diff)
	}
	if got := p.Sources["rules"]; got != "policy.yaml:pods[2] (line 5) + policy.yaml:pods[1] (line 4) + policy.yaml:pods[0] (line 3)" {
		t.Errorf("the source of all rules is %q", got)
	}
}

func TestNoRuleOfAPodEvadesEnforce(t *testing.T) {
	const rules = `[{"match": {"role": "client"}, "mode": "destroy", "grace": "never", "probeAfter": "1s", "clock": "state"},
		{"match": {"role": "server"}, "closeWaitGrace": "1s", "above": 7}]`
	want := []string{
		`{"match":{"role":"client"},"mode":"observe","finWait2Grace":"never"} annotation halfclose.cni/rules`,
		`{"match":{"role":"server"},"above":7} annotation halfclose.cni/rules`,
	}
	p := resolve(t, `{}`, entries("enforce: {mode: observe, closeWaitGrace: 10m, probeAfter: 9m, clock: progress}"), "rules", rules).Policies[0]
	if diff := cmp.Diff(want, ruleTexts(&p)); diff != "" {
		t.Errorf("annotation (-want +got)\n%s", diff)
	}
	// The operator's own rules only lose a less conservative mode.
	p = resolve(t, `{"rules": `+rules+`}`, entries("enforce: {mode: observe, grace: 10m, probeAfter: 9m}")).Policies[0]
	want = []string{
		`{"match":{"role":"client"},"mode":"observe","grace":"never","probeAfter":"1s","clock":"state"} network`,
		`{"match":{"role":"server"},"closeWaitGrace":"1s","above":7} network`,
	}
	if diff := cmp.Diff(want, ruleTexts(&p)); diff != "" {
		t.Errorf("network (-want +got)\n%s", diff)
	}
}

func TestTheStricterPodOverridesCount(t *testing.T) {
	for _, tt := range []struct{ network, file, want string }{
		{"any", "any", "2m"},
		{"any", "relax", "1m 2m"},
		{"any", "none", "1m"},
		{"relax", "any", "1m 2m"},
		{"relax", "relax", "1m 2m"},
		{"relax", "none", "1m"},
		{"none", "any", "1m"},
		{"none", "relax", "1m"},
		{"none", "none", "1m"},
	} {
		r := resolve(t, `{"grace": "1m", "podOverrides": "`+tt.network+`"}`, "version: 1\npodOverrides: "+tt.file+"\n", "grace", "2m")
		var graces []string
		for _, p := range r.Policies {
			graces = append(graces, p.CloseWaitGrace.String())
		}
		if got := strings.Join(graces, " "); got != tt.want {
			t.Errorf("network %s, file %s: %s, want %s", tt.network, tt.file, got, tt.want)
		}
	}
}

// random generates network objects, annotations and policy files of few kinds, so that they often conflict.
type random struct{ *rand.Rand }

func (r random) of(words ...string) string { return words[r.IntN(len(words))] }

func (r random) patience() string { return r.of("never", "1s", "5s", "20s", "100s") }

func (r random) match() string {
	return r.of(`{"role": "client"}`, `{"role": "server"}`, `{"state": "CLOSE_WAIT"}`, `{"commands": ["a"]}`, `{"localPorts": "80"}`)
}

// values returns pairs of a key and a JSON value, of the keys that layers and rules have.
func (r random) values(most int) (pairs [][2]string) {
	for _, key := range []string{"grace", "closeWaitGrace", "finWait2Grace", "probeAfter", "pendingGrace", "mode", "clock"} {
		if r.IntN(7) >= most {
			continue
		}
		value := r.patience()
		switch key {
		case "mode":
			value = r.of("destroy", "observe", "off")
		case "clock":
			value = r.of("state", "progress")
		}
		pairs = append(pairs, [2]string{key, `"` + value + `"`})
	}
	return pairs
}

// layer returns values and lists.
func (r random) layer() [][2]string {
	pairs := r.values(3)
	if r.IntN(3) == 0 {
		var rules []string
		for range r.IntN(3) {
			rule := `{"match": ` + r.match() + `, "grace": "` + r.patience() + `"`
			if r.IntN(2) == 0 {
				rule += `, "mode": "` + r.of("destroy", "observe", "off") + `"`
			}
			rules = append(rules, rule+"}")
		}
		pairs = append(pairs, [2]string{"rules", "[" + strings.Join(rules, ", ") + "]"})
	}
	if r.IntN(4) == 0 {
		pairs = append(pairs, [2]string{"exempt", "[" + r.of("", r.match()) + "]"})
	}
	return pairs
}

func object(pairs [][2]string, more ...string) string {
	for _, p := range pairs {
		more = append(more, `"`+p[0]+`": `+p[1])
	}
	return "{" + strings.Join(more, ", ") + "}"
}

// layers returns the layers of a record.
func (r random) layers(t testing.TB) policy.Layers {
	t.Helper()
	n, problems := policy.ParseNetwork([]byte(object(r.layer(), `"podOverrides": "`+r.of("any", "relax", "none")+`"`)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	annotations := make(map[string]string)
	names := map[string]string{"closeWaitGrace": "close-wait-grace", "finWait2Grace": "fin-wait2-grace", "probeAfter": "probe-after", "pendingGrace": "pending-grace"}
	for _, p := range r.layer() {
		name := p[0]
		if other, ok := names[name]; ok {
			name = other
		}
		annotations[policy.AnnotationPrefix+name] = strings.Trim(p[1], `"`)
	}
	if r.IntN(5) == 0 {
		annotations[policy.AnnotationGrace] = "wrong"
	}
	l := n.Layers(annotations)
	if r.IntN(8) == 0 {
		l.Observe = "wrong configuration"
	}
	return l
}

// file returns a policy file with entries that match web and others.
func (r random) file(t testing.TB) *policyfile.File {
	t.Helper()
	text := "version: 1\npodOverrides: " + r.of("any", "relax", "none") + "\n"
	if r.IntN(2) == 0 {
		text += "defaults: " + object(r.layer()) + "\n"
	}
	text += "pods:\n- {match: {pod: other}, set: {mode: off}}\n"
	for range r.IntN(4) {
		text += "- {match: {pod: '" + r.of("web-*", "*", "api") + "'}, " + r.of("set", "enforce") + ": " + object(r.layer()) + "}\n"
	}
	return parse(t, text)
}

// verdicts judges sockets of each kind after some idle time.
func verdicts(policies []policy.Policy) (all []policy.Verdict) {
	const now = monotime.Time(1000 * time.Hour)
	for _, state := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
		for _, role := range []policy.Role{policy.RoleUnknown, policy.RoleClient, policy.RoleServer} {
			for _, port := range []string{"10.0.0.1:80", "10.0.0.1:4000"} {
				for _, unread := range []uint32{0, 9} {
					s := &inetdiag.Socket{
						ID:    inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort(port), netip.MustParseAddrPort("10.0.0.2:443"), 0, 1),
						State: state, Inode: 1, HasInfo: true, RQueue: unread,
					}
					h := policy.Follow(nil, policy.Look{At: now.Add(-10 * time.Second), Entered: now.Add(-20 * time.Second), Socket: s, Role: role})
					h = policy.Follow(&h, policy.Look{At: now, Socket: s, Role: role})
					for _, f := range []policy.Facts{{}, {OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Command: "a"}, {Command: "b"}}}} {
						f.Role = role
						all = append(all, policy.Judge(policies, &h, s, f, now))
					}
				}
			}
		}
	}
	return all
}

// lessConservative returns the index of a verdict of a that is less conservative than that of b, -1 if none is.
func lessConservative(a, b []policy.Verdict) int {
	for i := range a {
		if a[i].Act < b[i].Act || a[i].AskAt.Before(b[i].AskAt) || a[i].EndAt.Before(b[i].EndAt) {
			return i
		}
	}
	return -1
}

// checkLayers checks, for random layers and a random file, what the file may not do.
func checkLayers(t *testing.T, seed uint64) {
	t.Helper()
	r := random{rand.New(rand.NewPCG(seed, seed))}
	l, f := r.layers(t), r.file(t)
	resolved := f.Resolve(l, web, time.Second)
	got := verdicts(resolved.Policies)
	below, above := f.Layers(web)
	bare := l
	bare.Annotations = nil
	without := verdicts(f.Resolve(bare, web, time.Second).Policies)

	// Annotations only make a verdict more conservative if the network or the file says relax, and change nothing under none.
	switch policyfile.Stricter(l.PodOverrides, f.PodOverrides) {
	case policy.OverridesRelax:
		if i := lessConservative(got, without); i >= 0 {
			t.Errorf("seed %d: with annotations under relax: %+v, without %+v", seed, got[i], without[i])
		}
	case policy.OverridesNone:
		if diff := cmp.Diff(without, got); diff != "" {
			t.Errorf("seed %d: annotations count under none: %s", seed, diff)
		}
	}
	// Whatever caps the record, or the pod because of a wrong annotation, caps it under the file too.
	isWrong := l.Annotations[policy.AnnotationGrace] == "wrong" && policyfile.Stricter(l.PodOverrides, f.PodOverrides) != policy.OverridesNone
	// No rule exceeds the mode of an enforce, unless that rule is of an enforce above it.
	limit, hasRules := policy.Mode(0), false
	for _, layer := range above {
		if layer.Mode != nil {
			limit, hasRules = *layer.Mode, false
		}
		hasRules = hasRules || layer.Rules != nil
	}
	for i, v := range got {
		if (l.Observe != "" || isWrong) && v.Act < policy.Observe {
			t.Errorf("seed %d: a capped pod has %+v", seed, v)
		}
		if limit != 0 && !hasRules && v.Act < limit {
			t.Errorf("seed %d: enforced mode %v, verdict %d is %+v", seed, limit, i, v)
		}
	}
	// Nothing changes without an entry for the pod.
	if len(below)+len(above) == 0 && f.PodOverrides == policy.OverridesAny {
		if diff := cmp.Diff(l.Resolve(time.Second), resolved); diff != "" {
			t.Errorf("seed %d: a file without an entry for the pod changes it: %s", seed, diff)
		}
	}
	// A wrong file without a last good one destroys nothing, and asks nothing that would not be asked without a file.
	c := policyfile.Current{Problems: policyfile.Problems{{Message: "wrong"}}}
	wrong, none := verdicts(c.Resolve(l, web, time.Second).Policies), verdicts(l.Resolve(time.Second).Policies)
	for i, v := range wrong {
		if v.Act < policy.Observe {
			t.Errorf("seed %d: under a wrong file verdict %d is %+v", seed, i, v)
		}
	}
	if i := lessConservative(wrong, none); i >= 0 {
		t.Errorf("seed %d: under a wrong file %+v, without a file %+v", seed, wrong[i], none[i])
	}
}

func TestTheFileMakesNoVerdictLessConservativeThanItsLayersSay(t *testing.T) {
	for seed := range uint64(500) {
		checkLayers(t, seed)
		if t.Failed() {
			return
		}
	}
}
