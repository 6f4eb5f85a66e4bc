// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

func network(t testing.TB, conf string) policy.Network {
	t.Helper()
	n, problems := policy.ParseNetwork([]byte(conf))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return n
}

// pod returns annotations, from names without their prefix and values.
func pod(namesAndValues ...string) map[string]string {
	all := map[string]string{"app": "web", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
	for i := 0; i < len(namesAndValues); i += 2 {
		all[policy.AnnotationPrefix+namesAndValues[i]] = namesAndValues[i+1]
	}
	return all
}

// resolve resolves the layers of an attachment to a network.
func resolve(t testing.TB, conf, overrides string, annotations map[string]string) policy.Resolved {
	t.Helper()
	l := network(t, conf).Layers(annotations)
	if err := l.PodOverrides.UnmarshalText([]byte(overrides)); err != nil {
		t.Fatal(err)
	}
	return l.Resolve(0)
}

// destroying is a network that names every value.
const destroying = `{"mode": "destroy", "grace": "1m", "probeAfter": "5s", "probeCount": 2, "probeInterval": "1s", "pendingGrace": "2m",
	"clock": "state", "exempt": [{"localPorts": "22"}], "rules": [{"match": {"role": "client"}, "grace": "10s"}]}`

func TestAnnotations(t *testing.T) {
	ssh := []policy.Match{{LocalPorts: policy.Ports{{22, 22}}}}
	clients := []policy.Rule{{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Grace: new(10 * second)}}}
	network := policy.Policy{
		Mode: policy.Destroy, CloseWaitGrace: minute, FinWait2Grace: minute, ProbeAfter: 5 * second, ProbeCount: 2,
		ProbeInterval: time.Second, PendingGrace: 2 * minute, Clock: policy.ClockState, Exempt: ssh, Rules: clients,
		Sources: sources(map[string]string{
			"mode": "network", "closeWaitGrace": "network", "finWait2Grace": "network", "probeAfter": "network",
			"probeCount": "network", "probeInterval": "network", "pendingGrace": "network", "clock": "network", "exempt": "network", "rules": "network",
		}),
	}
	// with returns the network's policy with a change, and the values with another source.
	with := func(changed policy.Sources, change func(*policy.Policy)) policy.Policy {
		p := network
		p.Sources = sources(network.Sources)
		maps.Copy(p.Sources, changed)
		change(&p)
		return p
	}
	everything := pod("mode", "off", "grace", "3m", "fin-wait2-grace", "never", "probe-after", "7s", "probe-count", "9",
		"probe-interval", "8s", "pending-grace", "6m", "clock", "progress", "exempt", `[{"loopback": true}]`,
		"rules", `[{"match": {"role": "server"}, "grace": "never"}]`)
	changed := with(policy.Sources{
		"mode": "annotation halfclose.cni/mode", "closeWaitGrace": "annotation halfclose.cni/grace",
		"finWait2Grace": "annotation halfclose.cni/fin-wait2-grace", "probeAfter": "annotation halfclose.cni/probe-after",
		"probeCount": "annotation halfclose.cni/probe-count", "probeInterval": "annotation halfclose.cni/probe-interval",
		"pendingGrace": "annotation halfclose.cni/pending-grace", "clock": "annotation halfclose.cni/clock",
		"exempt": "annotation halfclose.cni/exempt", "rules": "annotation halfclose.cni/rules",
	}, func(p *policy.Policy) {
		*p = policy.Policy{
			Mode: policy.Off, CloseWaitGrace: 3 * minute, FinWait2Grace: policy.Never, ProbeAfter: 7 * second, ProbeCount: 9,
			ProbeInterval: 8 * time.Second, PendingGrace: 6 * minute, Clock: policy.ClockProgress, Sources: p.Sources,
			Exempt: []policy.Match{{Loopback: true}},
			Rules:  []policy.Rule{{Match: policy.Match{Role: policy.RoleServer}, Values: policy.Values{Grace: new(policy.Never)}}},
		}
	})
	observed := with(policy.Sources{"mode": "wrong annotation"}, func(p *policy.Policy) { p.Mode = policy.Observe })

	for name, tt := range map[string]struct {
		overrides   string
		annotations map[string]string
		want        []policy.Policy
		problems    []string
	}{
		"none at all change nothing":         {"any", nil, []policy.Policy{network}, nil},
		"those of others change nothing":     {"relax", pod(), []policy.Policy{network}, nil},
		"any takes every value":              {"any", everything, []policy.Policy{changed}, nil},
		"relax judges without and with them": {"relax", everything, []policy.Policy{network, changed}, nil},
		"none takes nothing, and reports it": {
			"none", everything,
			[]policy.Policy{network},
			[]string{`the pod's annotations halfclose.cni/* are ignored: podOverrides is "none" (10 of them, the first "halfclose.cni/mode")`},
		},
		"none is silent where there are none": {"none", pod(), []policy.Policy{network}, nil},
		"none does not read wrong ones": {
			"none", pod("colour", "red"),
			[]policy.Policy{network},
			[]string{`the pod's annotations halfclose.cni/* are ignored: podOverrides is "none" (1 of them, the first "halfclose.cni/colour")`},
		},
		"an empty list clears the network's": {
			"any", pod("rules", "[]", "exempt", "[]"),
			[]policy.Policy{with(policy.Sources{"exempt": "annotation halfclose.cni/exempt", "rules": "annotation halfclose.cni/rules"},
				func(p *policy.Policy) { p.Exempt, p.Rules = []policy.Match{}, []policy.Rule{} })},
			nil,
		},
		"a mode in capitals observes": {
			"any", pod("mode", "Observe"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/mode: unknown mode "Observe", did you mean "observe"? (the pod is only observed)`},
		},
		"a grace in days observes, and leaves the network's": {
			"any", pod("grace", "1d"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/grace: "1d": Go durations have no days: write "24h" (the pod is only observed)`},
		},
		"under relax too": {
			"relax", pod("grace", "infinite"),
			[]policy.Policy{observed, observed},
			[]string{`annotation halfclose.cni/grace: "infinite" is not a duration: want a duration such as "10m", or "never" (units are h, m, s, ms, us and ns) (the pod is only observed)`},
		},
		"a wrong exemption observes": {
			"any", pod("exempt", `[{"localPorts":22}]`),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/exempt[0].localPorts: want ports in a string such as "22,8000-8999", got the number 22: write "22" (the pod is only observed)`},
		},
		"an exempt that is not JSON observes": {
			"any", pod("exempt", "22,80"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/exempt: its value is not JSON: invalid character ',' after top-level value (the pod is only observed)`},
		},
		"an unknown one observes": {
			"any", pod("close_wait_grace", "never"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/close_wait_grace: unknown annotation, did you mean halfclose.cni/close-wait-grace? (the pod is only observed)`},
		},
		"the good beside the bad count": {
			"any", pod("mode", "destroy", "pending-grace", "never", "colour", "red"),
			[]policy.Policy{with(policy.Sources{"mode": "wrong annotation", "pendingGrace": "annotation halfclose.cni/pending-grace"},
				func(p *policy.Policy) { p.Mode, p.PendingGrace = policy.Observe, policy.Never })},
			[]string{`annotation halfclose.cni/colour: unknown annotation; after halfclose.cni/ one of these must follow: mode, grace, close-wait-grace, ` +
				`fin-wait2-grace, probe-after, probe-count, probe-interval, pending-grace, clock, exempt, rules (the pod is only observed)`},
		},
		"a wrong one leaves off as it is": {
			"any", pod("mode", "off", "grace", "1d"),
			[]policy.Policy{with(policy.Sources{"mode": "annotation halfclose.cni/mode"}, func(p *policy.Policy) { p.Mode = policy.Off })},
			[]string{`annotation halfclose.cni/grace: "1d": Go durations have no days: write "24h" (the pod is only observed)`},
		},
		"a wrong one caps the modes of rules as well": {
			"any", pod("rules", `[{"match": {"role": "client"}, "mode": "destroy"}, {"match": {"role": "server"}, "mode": "off"}]`, "x", ""),
			[]policy.Policy{with(policy.Sources{"mode": "wrong annotation", "rules": "annotation halfclose.cni/rules"}, func(p *policy.Policy) {
				p.Mode = policy.Observe
				p.Rules = []policy.Rule{
					{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Mode: new(policy.Observe)}},
					{Match: policy.Match{Role: policy.RoleServer}, Values: policy.Values{Mode: new(policy.Off)}},
				}
			})},
			[]string{`annotation halfclose.cni/x: unknown annotation; after halfclose.cni/ one of these must follow: mode, grace, close-wait-grace, ` +
				`fin-wait2-grace, probe-after, probe-count, probe-interval, pending-grace, clock, exempt, rules (the pod is only observed)`},
		},
		"what the pod wrote is escaped": {
			"any", pod("mode", "\x1b[31m\n\u202eoff", "a\nb", ""),
			[]policy.Policy{observed},
			[]string{
				`annotation halfclose.cni/mode: unknown mode "\x1b[31m\n\u202eoff": want "destroy", "observe" or "off" (the pod is only observed)`,
				`annotation "halfclose.cni/a\nb": unknown annotation; after halfclose.cni/ one of these must follow: mode, grace, close-wait-grace, ` +
					`fin-wait2-grace, probe-after, probe-count, probe-interval, pending-grace, clock, exempt, rules (the pod is only observed)`,
			},
		},
		"too many rules and exemptions": {
			"any", pod("exempt", `[{"loopback": true}]`, "rules", "["+manyRules(64)+"]"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/rules: 65 rules and exemptions, at most 64 are allowed together (the pod is only observed)`},
		},
		"numbers": {
			"any", pod("probe-count", "0", "probe-interval", "1.5s"),
			[]policy.Policy{observed},
			[]string{
				`annotation halfclose.cni/probe-count: 0 is not from 1 to 127 (the pod is only observed)`,
				`annotation halfclose.cni/probe-interval: 1.5s is not a whole number of seconds from 1s to 9h6m7s (the pod is only observed)`,
			},
		},
		"a number that is none": {
			"any", pod("probe-count", "many"),
			[]policy.Policy{observed},
			[]string{`annotation halfclose.cni/probe-count: want a number of probes such as 6, got a string (the pod is only observed)`},
		},
		"values that are too long": {
			"any", pod("grace", many("0", 256)+"9m", "exempt", "["+many(" ", 256<<10)+"]"),
			[]policy.Policy{observed},
			[]string{
				`annotation halfclose.cni/grace: its value has more than 256 bytes (the pod is only observed)`,
				`annotation halfclose.cni/exempt: its value has more than 262144 bytes (the pod is only observed)`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := resolve(t, destroying, tt.overrides, tt.annotations)
			if diff := cmp.Diff(tt.want, got.Policies); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want[len(tt.want)-1].Sources, got.Sources); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, got.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLayerWithOneGraceHidesBothOfLowerLayers(t *testing.T) {
	for name, tt := range map[string]struct {
		network, annotation string // names and values
		closeWait, finWait2 policy.Patience
	}{
		"grace hides grace":                      {`"grace": "1m"`, "grace=2m", 2 * minute, 2 * minute},
		"grace hides the states' below":          {`"closeWaitGrace": "1m", "finWait2Grace": "1m"`, "grace=2m", 2 * minute, 2 * minute},
		"a state's hides grace for that state":   {`"grace": "1m"`, "close-wait-grace=2m", 2 * minute, minute},
		"a state's hides a state's":              {`"closeWaitGrace": "1m", "grace": "3m"`, "close-wait-grace=2m", 2 * minute, 3 * minute},
		"the other state's leaves both as below": {`"closeWaitGrace": "1m", "grace": "3m"`, "fin-wait2-grace=2m", minute, 2 * minute},
		"a state's beats grace in its own layer": {`"grace": "1m"`, "grace=3m close-wait-grace=2m", 2 * minute, 3 * minute},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := pod()
			for pair := range strings.FieldsSeq(tt.annotation) {
				key, value, _ := strings.Cut(pair, "=")
				annotations[policy.AnnotationPrefix+key] = value
			}
			p := resolve(t, "{"+tt.network+"}", "any", annotations).Policies[0]
			if p.CloseWaitGrace != tt.closeWait || p.FinWait2Grace != tt.finWait2 {
				t.Errorf("got %s and %s, want %s and %s", p.CloseWaitGrace, p.FinWait2Grace, tt.closeWait, tt.finWait2)
			}
		})
	}
}

func TestResolveCapsAnAttachmentAtObserve(t *testing.T) {
	l := network(t, destroying).Layers(nil)
	l.Observe = "wrong configuration"
	r := l.Resolve(0)
	if p := r.Policies[0]; p.Mode != policy.Observe || p.Sources["mode"] != "wrong configuration" || r.Sources["mode"] != "wrong configuration" {
		t.Errorf("mode %s by %q", p.Mode, p.Sources["mode"])
	}
	if len(r.Problems) > 0 {
		t.Errorf("problems: %q", r.Problems)
	}
}

func TestResolveRaisesEveryPatienceToMinGrace(t *testing.T) {
	l := network(t, `{"grace": "1s", "finWait2Grace": "20s", "probeAfter": "1ms", "pendingGrace": "never", "rules":
		[{"match": {"role": "client"}, "grace": "1ns", "closeWaitGrace": "11s", "finWait2Grace": "1s", "probeAfter": "2s", "pendingGrace": "3s"}]}`).Layers(nil)
	before := l.Network.Rules[0].Values
	p := l.Resolve(10 * time.Second).Policies[0]
	if p.CloseWaitGrace != 10*second || p.FinWait2Grace != 20*second || p.ProbeAfter != 10*second || p.PendingGrace != policy.Never {
		t.Errorf("got %+v", p)
	}
	for key, want := range map[string]string{
		"closeWaitGrace": policy.SourceMinGrace, "probeAfter": policy.SourceMinGrace, "finWait2Grace": policy.SourceNetwork, "pendingGrace": policy.SourceNetwork,
	} {
		if p.Sources[key] != want {
			t.Errorf("%s comes from %q, want %q", key, p.Sources[key], want)
		}
	}
	want := policy.Values{
		Grace: new(10 * second), CloseWaitGrace: new(11 * second), FinWait2Grace: new(10 * second), ProbeAfter: new(10 * second),
		PendingGrace: new(10 * second),
	}
	if diff := cmp.Diff(want, p.Rules[0].Values); diff != "" {
		t.Errorf("rule (-want +got):\n%s", diff)
	}
	if l.Network.Rules[0].Values != before || *before.Grace != 1 {
		t.Error("the layer changed")
	}
}

func TestLayersBelowAreBetweenNetworkAndAnnotations(t *testing.T) {
	file := func(source string, v policy.Values) policy.Layer { return policy.Layer{Source: source, Values: v} }
	l := network(t, `{"grace": "1m", "mode": "destroy", "clock": "state"}`).Layers(pod("probe-after", "2m", "pending-grace", "2m"))
	r := l.ResolveWith(
		[]policy.Layer{
			file("policy.yaml", policy.Values{Grace: new(2 * minute), ProbeAfter: new(minute)}),
			file("policy.yaml:payments (line 5)", policy.Values{Clock: new(policy.ClockProgress)}),
		},
		[]policy.Layer{file("policy.yaml:kube-system (line 9)", policy.Values{Mode: new(policy.Observe), PendingGrace: new(3 * minute)})}, 0)
	want := sources(policy.Sources{
		"mode": "policy.yaml:kube-system (line 9)", "closeWaitGrace": "policy.yaml", "finWait2Grace": "policy.yaml",
		"probeAfter": "annotation halfclose.cni/probe-after", "pendingGrace": "policy.yaml:kube-system (line 9)",
		"clock": "policy.yaml:payments (line 5)",
	})
	if diff := cmp.Diff(want, r.Sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	p := r.Policies[0]
	if len(r.Policies) != 1 || p.Mode != policy.Observe || p.CloseWaitGrace != 2*minute || p.ProbeAfter != 2*minute ||
		p.PendingGrace != 3*minute || p.Clock != policy.ClockProgress {
		t.Errorf("got %+v", r.Policies)
	}
}

func TestTooManyRulesInAllLayersCapAtObserve(t *testing.T) {
	r := resolve(t, `{"exempt": [{"loopback": true}], "rules": [`+manyRules(63)+`]}`, "any", pod("exempt", `[{"loopback": true}, {"localPorts": "1"}]`))
	want := []string{"the layers have 65 rules and exemptions, at most 64 are allowed together (only observed)"}
	if diff := cmp.Diff(want, r.Problems); diff != "" || r.Policies[0].Mode != policy.Observe || r.Sources["mode"] != "too many rules" {
		t.Errorf("mode %v by %q, problems (-want +got)\n%s", r.Policies[0].Mode, r.Sources["mode"], diff)
	}
	r = resolve(t, `{"exempt": [{"loopback": true}], "rules": [`+manyRules(63)+`]}`, "any", pod("exempt", `[{"localPorts": "1"}]`))
	if r.Policies[0].Mode != policy.Destroy || len(r.Problems) > 0 {
		t.Errorf("mode %v, problems %q", r.Policies[0].Mode, r.Problems)
	}
}

func TestWithoutLayersTheBuiltInPolicyApplies(t *testing.T) {
	r := policy.Layers{}.Resolve(time.Second)
	if diff := cmp.Diff([]policy.Policy{policy.Default()}, r.Policies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheLargestListsFitAnAnnotation has 64 entries with 16 ranges of the longest kind in each of their lists.
func TestTheLargestListsFitAnAnnotation(t *testing.T) {
	list := func(item func(j int) string) string {
		items := make([]string, 16)
		for j := range items {
			items[j] = item(j)
		}
		return strings.Join(items, ",")
	}
	ports := list(func(j int) string { return fmt.Sprintf("%d-%d", 10000+3*j, 10001+3*j) })
	match := fmt.Sprintf(`{"state":"CLOSE_WAIT","role":"client","localPorts":%q,"peerPorts":%q,"peers":%q,"uids":%q,"commands":[%s]}`, ports, ports,
		list(func(j int) string { return fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:ff%02x/128", j+16) }),
		list(func(j int) string { return fmt.Sprintf("%d-%d", 4000000000+3*j, 4000000001+3*j) }),
		list(func(j int) string { return fmt.Sprintf("%q", fmt.Sprintf("fifteen-bytes%02d", j)) }))
	exempt := "[" + strings.Join(slices.Repeat([]string{match}, 64), ",") + "]"
	rule := `{"match":` + strings.Replace(match, `"state":"CLOSE_WAIT",`, "", 1) + `,"mode":"destroy","grace":"24h59m59s","closeWaitGrace":"24h59m59s","finWait2Grace":"24h59m59s",` +
		`"probeAfter":"24h59m59s","pendingGrace":"24h59m59s","clock":"progress","above":10000000,"askSigpipe":false}`
	rules := "[" + strings.Join(slices.Repeat([]string{rule}, 64), ",") + "]"
	for name, value := range map[string]string{"exempt": exempt, "rules": rules} {
		r := resolve(t, "{}", "any", pod(name, value))
		if p := r.Policies[0]; len(r.Problems) > 0 || len(p.Exempt)+len(p.Rules) != 64 {
			t.Errorf("%s of %d bytes: %d entries, %q", name, len(value), len(p.Exempt)+len(p.Rules), r.Problems)
		}
		if len(value) > 200<<10 {
			t.Errorf("%s has %d bytes, which leaves no room beside Kubernetes' bound on all annotations", name, len(value))
		}
	}
}

func TestUnknownAnnotationsBeyondTheFirstSixteenCostNothing(t *testing.T) {
	few, many := map[string]string{}, map[string]string{}
	for i := range 17000 {
		name := fmt.Sprintf("%sx%05d", policy.AnnotationPrefix, i)
		many[name] = ""
		if i < 17 {
			few[name] = ""
		}
	}
	l := policy.Layers{Annotations: many}
	r := l.Resolve(0)
	if want := "and 16985 more about the pod's annotations"; len(r.Problems) != 16 || r.Problems[15] != want || r.Policies[0].Mode != policy.Observe {
		t.Errorf("%d problems, the last %q, mode %s", len(r.Problems), r.Problems[len(r.Problems)-1], r.Policies[0].Mode)
	}
	allocations := func(annotations map[string]string) float64 {
		l := policy.Layers{Annotations: annotations}
		return testing.AllocsPerRun(3, func() { l.Resolve(0) })
	}
	// The garbage collector may empty pools during the runs, which costs a few.
	if f, m := allocations(few), allocations(many); m > f+float64(len(many)-len(few))/100 {
		t.Errorf("%.0f allocations for 17 unknown annotations, %.0f for 17,000", f, m)
	}
}

func TestReservedAnnotationsKeepKnownNames(t *testing.T) {
	annotations := pod("grace", "1m", "exempt", `[{"loopback": true}]`)
	for i := range 100 {
		annotations[fmt.Sprintf("%sx%03d", policy.AnnotationPrefix, i)] = many("x", 1000)
	}
	kept := policy.ReservedAnnotations(annotations)
	if len(kept) != 2+16+1 || kept["halfclose.cni/grace"] != "1m" || kept["halfclose.cni/exempt"] != `[{"loopback": true}]` {
		t.Errorf("kept %d: %v", len(kept), kept)
	}
	if value, ok := kept["halfclose.cni/x015"]; !ok || value != "" {
		t.Errorf("the sixteenth unknown one is kept: %v, with %d bytes", ok, len(value))
	}
	if r := (policy.Layers{Annotations: kept}).Resolve(0); r.Policies[0].Mode != policy.Observe {
		t.Errorf("mode %s", r.Policies[0].Mode)
	}
	for _, overrides := range []policy.PodOverrides{policy.OverridesAny, policy.OverridesNone} {
		all := policy.Layers{Annotations: annotations, PodOverrides: overrides}.Resolve(0).Problems
		recorded := policy.Layers{Annotations: policy.ReservedAnnotations(kept), PodOverrides: overrides}.Resolve(0).Problems
		if diff := cmp.Diff(all, recorded); diff != "" {
			t.Errorf("a record says other than what there is (-want +got):\n%s", diff)
		}
	}
	if policy.ReservedAnnotations(nil) != nil || policy.ReservedAnnotations(pod()) == nil {
		t.Error("annotations that the runtime did not pass are not distinguished from a pod without ours")
	}
}

func TestReservedAnnotationsAreBounded(t *testing.T) {
	const list = 256 << 10
	for name, tt := range map[string]struct {
		annotations map[string]string
		most        int // bytes of JSON
	}{
		"a mode of characters that HTML escapes": {pod("mode", many("<", 200_000)), 1 << 10},
		"a mode of control characters":           {pod("mode", many("\x01", 200_000)), 4 << 10},
		"a mode of what is no UTF-8":             {pod("mode", many("\x80", 200_000)), 4 << 10},
		"a grace cut within a character":         {pod("grace", many("x", 255)+many("ä", 99)), 1 << 10},
		"a list of characters that HTML escapes": {pod("exempt", `["`+many("<", list-4)+`"]`), list + 1<<10},
		"a list of control characters":           {pod("exempt", many("\x01", list)), 4 << 10},
		"a list of what is no UTF-8":             {pod("rules", `["`+many("\xff", list-4)+`"]`), 4 << 10},
		"a list that is too long":                {pod("rules", "["+many(" ", list)+"]"), 1 << 10},
		"a list with something behind it":        {pod("rules", "[]"+many(" ", 1000)+"x"), 2 << 10},
		"two lists that are too long together":   {pod("rules", "["+many("\n", list-2)+"]", "exempt", `[{}`+many("\n", list-4)+"]"), 2*list + 1<<10},
		"an unknown name":                        {pod(many("y", 200_000), "1"), 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			kept := policy.Layers{Annotations: policy.ReservedAnnotations(tt.annotations)}
			data, err := kept.MarshalJSON()
			if err != nil || len(data) > tt.most {
				t.Errorf("%d bytes, %v", len(data), err)
			}
			if p := kept.Resolve(0).Policies[0]; p.Mode != policy.Observe {
				t.Errorf("the pod's mode is %s", p.Mode)
			}
			checkWarnings(t, kept.Resolve(0).Problems)
		})
	}
}

func TestAnnotationProblemsAreBounded(t *testing.T) {
	annotations := map[string]string{}
	for i := range 1000 {
		annotations[fmt.Sprintf("%s%d%s", policy.AnnotationPrefix, i, many("\x00", 1000))] = many("x", 1000)
	}
	checkWarnings(t, resolve(t, "{}", "any", annotations).Problems)
	problems := resolve(t, "{}", "any", pod("exempt", "["+many(`{"\u0000\u202e":1},`, 60)+"{}]")).Problems
	checkWarnings(t, problems)
	if len(problems) != 16 {
		t.Errorf("got %d problems", len(problems))
	}
}

func BenchmarkUnknownAnnotations(b *testing.B) {
	annotations := map[string]string{}
	for i := range 17000 {
		annotations[fmt.Sprintf("%s%d", policy.AnnotationPrefix, i)] = ""
	}
	for b.Loop() {
		policy.Layers{Annotations: annotations}.Resolve(0)
	}
}

// checkWarnings fails unless the warnings are few, short and printable.
func checkWarnings(t *testing.T, warnings []string) {
	t.Helper()
	if len(warnings) > 16 {
		t.Errorf("%d warnings", len(warnings))
	}
	for _, w := range warnings {
		if len(w) > 512 {
			t.Errorf("a warning of %d bytes: %.100s", len(w), w)
		}
		if strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("not fit to be shown: %q", w)
		}
	}
}
