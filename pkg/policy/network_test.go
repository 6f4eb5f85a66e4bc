// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

// completeObject has every key that there is.
const completeObject = `{
  "type": "halfclose",
  "mode": "destroy",
  "grace": "10m",
  "closeWaitGrace": "2m",
  "finWait2Grace": "never",
  "clock": "progress",
  "pendingData": "keep",
  "exempt": [
    {"localPorts": "22,8000-8999"}, {"peers": "10.0.0.0/8", "peerPorts": "5432"}, {"loopback": true} ],
  "podOverrides": "any",
  "failurePolicy": "ignore",
  "reaper": "auto",
  "capabilities": {"io.kubernetes.cri.pod-annotations": true}
}`

func sources(change policy.Sources) policy.Sources {
	all := policy.Sources{
		"mode": "built-in", "closeWaitGrace": "built-in", "finWait2Grace": "built-in",
		"clock": "built-in", "pendingData": "built-in", "exempt": "built-in",
	}
	maps.Copy(all, change)
	return all
}

func TestParseNetworkTakesTheCompleteObject(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(completeObject))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		Policy: policy.Policy{
			Mode: policy.Destroy, CloseWaitGrace: 2 * minute, FinWait2Grace: policy.Never,
			Clock: policy.ClockProgress, PendingData: policy.PendingKeep,
			Exempt: []policy.Exemption{
				{LocalPorts: policy.Ports{{22, 22}, {8000, 8999}}},
				{Peers: prefixes("10.0.0.0/8"), PeerPorts: policy.Ports{{5432, 5432}}},
				{Loopback: true},
			},
		},
		Sources: policy.Sources{
			"mode": "network", "closeWaitGrace": "network", "finWait2Grace": "network",
			"clock": "network", "pendingData": "network", "exempt": "network",
		},
		PodOverrides: policy.OverridesAny, FailurePolicy: policy.Ignore, Reaper: policy.Auto, PodAnnotations: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNetworkTakesEveryOtherValue(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"mode": "observe", "grace": "1h", "clock": "state", "pendingData": "destroy",
		"exempt": [], "podOverrides": "relax", "failurePolicy": "fail", "reaper": "external"}`))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		Policy: policy.Policy{
			Mode: policy.Observe, CloseWaitGrace: 60 * minute, FinWait2Grace: 60 * minute,
			Clock: policy.ClockState, PendingData: policy.PendingDestroy,
		},
		Sources: policy.Sources{
			"mode": "network", "closeWaitGrace": "network", "finWait2Grace": "network",
			"clock": "network", "pendingData": "network", "exempt": "network",
		},
		PodOverrides: policy.OverridesRelax, FailurePolicy: policy.Fail, Reaper: policy.External,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, _ := policy.ParseNetwork([]byte(`{"mode": "off", "podOverrides": "none"}`)); got.Policy.Mode != policy.Off ||
		got.PodOverrides != policy.OverridesNone {
		t.Errorf("got mode %s and podOverrides %s", got.Policy.Mode, got.PodOverrides)
	}
}

func TestParseNetworkLeavesAloneWhatIsNotOurs(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"cniVersion": "1.1.0", "name": "net", "type": "halfclose",
		"capabilities": {"portMappings": true, "io.kubernetes.cri.pod-annotations": false}, "runtimeConfig": {"mode": "off"},
		"args": {"cni": {"labels": []}}, "prevResult": null, "dns": {}, "ipam": {}, "ipMasq": 7,
		"cni.dev/valid-attachments": [], "cni.dev/anything": 1, "_comment": "grace in minutes", "_comment": "twice"}`))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{Policy: policy.Default(), Sources: sources(nil)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNetworkGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		conf                string
		closeWait, finWait2 policy.Grace
		sources             policy.Sources
	}{
		"nothing said is ten minutes": {`{}`, 10 * minute, 10 * minute, nil},
		"grace is for both states": {
			`{"grace": "1m"}`, minute, minute,
			policy.Sources{"closeWaitGrace": "network", "finWait2Grace": "network"},
		},
		"one state's goes before it": {
			`{"grace": "1m", "closeWaitGrace": "2m"}`, 2 * minute, minute,
			policy.Sources{"closeWaitGrace": "network", "finWait2Grace": "network"},
		},
		"whichever comes first": {
			`{"finWait2Grace": "never", "grace": "1m"}`, minute, policy.Never,
			policy.Sources{"closeWaitGrace": "network", "finWait2Grace": "network"},
		},
		"one state's alone leaves the other": {
			`{"finWait2Grace": "3m"}`, 10 * minute, 3 * minute, policy.Sources{"finWait2Grace": "network"},
		},
		"a bad one of a state does not fall back to grace": {
			`{"grace": "1m", "closeWaitGrace": "nver"}`, 10 * minute, minute, policy.Sources{"finWait2Grace": "network"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := policy.ParseNetwork([]byte(tt.conf))
			if got.Policy.CloseWaitGrace != tt.closeWait || got.Policy.FinWait2Grace != tt.finWait2 {
				t.Errorf("got %s and %s, want %s and %s", got.Policy.CloseWaitGrace, got.Policy.FinWait2Grace, tt.closeWait, tt.finWait2)
			}
			if diff := cmp.Diff(sources(tt.sources), got.Sources); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNetworkProblems(t *testing.T) {
	const keys = "clock, closeWaitGrace, exempt, failurePolicy, finWait2Grace, grace, mode, pendingData, podOverrides, reaper"
	for name, tt := range map[string]struct {
		conf string
		want []string
	}{
		"nothing at all":         {``, []string{`$: not JSON: unexpected end of JSON input`}},
		"not JSON":               {`mode: destroy`, []string{`$: not JSON: invalid character 'm' looking for beginning of value`}},
		"cut short":              {`{"mode": "off"`, []string{`$: not JSON: unexpected end of JSON input`}},
		"two objects":            {`{} {}`, []string{`$: not JSON: invalid character '{' after top-level value`}},
		"a list":                 {` [{}]`, []string{`$: want an object, got a list`}},
		"null":                   {`null`, []string{`$: want an object, got null`}},
		"a mode that is a typo":  {`{"mode": "destory"}`, []string{`$.mode: unknown mode "destory", did you mean "destroy"?`}},
		"a mode like none":       {`{"mode": "kill"}`, []string{`$.mode: unknown mode "kill": want "destroy", "observe" or "off"`}},
		"a mode that is boolean": {`{"mode": true}`, []string{`$.mode: want a string such as "destroy", got true`}},
		"a mode that is null":    {`{"mode": null}`, []string{`$.mode: want a string such as "destroy", got null`}},
		"a grace in seconds":     {`{"grace": 600}`, []string{`$.grace: want a duration such as "10m", or "never"; 600 has no unit: write "600s"`}},
		"a negative grace":       {`{"grace": -1}`, []string{`$.grace: want a duration such as "10m", or "never", got the number -1`}},
		"a quoted grace without unit": {
			`{"closeWaitGrace": "90"}`, []string{`$.closeWaitGrace: "90" has no unit: write "90s"`},
		},
		"a grace that is an object": {
			`{"finWait2Grace": {"minutes": 1}}`, []string{`$.finWait2Grace: want a duration such as "10m", or "never", got an object`},
		},
		"a key in capitals":            {`{"Grace": "1m"}`, []string{`$.Grace: unknown key, did you mean "grace"?`}},
		"a key as an annotation's":     {`{"close-wait-grace": "1m"}`, []string{`$["close-wait-grace"]: unknown key, did you mean "closeWaitGrace"?`}},
		"a key with its end missing":   {`{"closeWait": "1m"}`, []string{`$.closeWait: unknown key, did you mean "closeWaitGrace"?`}},
		"a key of theirs with a typo":  {`{"capabilites": {}}`, []string{`$.capabilites: unknown key, did you mean "capabilities"?`}},
		"a key like none":              {`{"timeout": "1m"}`, []string{`$.timeout: unknown key: there are ` + keys}},
		"a key that is empty":          {`{"": 1}`, []string{`$[""]: unknown key: there are ` + keys}},
		"a key that is no name":        {`{"a\u0000\n": 1}`, []string{`$["a\x00\n"]: unknown key: there are ` + keys}},
		"a key of ours given twice":    {`{"mode": "off", "mode": "destroy"}`, []string{`$.mode: given more than once`}},
		"overrides with a typo":        {`{"podOverrides": "relaxed"}`, []string{`$.podOverrides: unknown podOverrides "relaxed", did you mean "relax"?`}},
		"failure policy of Kubernetes": {`{"failurePolicy": "Ignore"}`, []string{`$.failurePolicy: unknown failurePolicy "Ignore", did you mean "ignore"?`}},
		"reaper like none":             {`{"reaper": "systemd"}`, []string{`$.reaper: unknown reaper "systemd": want "auto" or "external"`}},
		"pendingData like none":        {`{"pendingData": "drop"}`, []string{`$.pendingData: unknown pendingData "drop": want "keep" or "destroy"`}},
		"every one at once, as they stand": {
			`{"reaper": 1, "clock": "wall", "graze": "1m", "exempt": [{"peers": "10.0.0.1/8"}, {}], "mode": "", "finWait2Grace": "0s"}`,
			[]string{
				`$.reaper: want a string such as "auto", got the number 1`,
				`$.clock: unknown clock "wall": want "progress" or "state"`,
				`$.graze: unknown key, did you mean "grace"?`,
				`$.exempt[0].peers: "10.0.0.1/8" has bits set beyond its length: write "10.0.0.0/8", or "10.0.0.1" for the one address`,
				`$.exempt[1]: an entry without keys would exempt every socket: write "mode": "off" for that`,
				`$.mode: unknown mode "": want "destroy", "observe" or "off"`,
				`$.finWait2Grace: "0s" is not a grace: want more than 0, or "never"`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := policy.ParseNetwork([]byte(tt.conf))
			if diff := cmp.Diff(tt.want, problems.Strings()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if strings.Contains(name, "twice") {
				return // the first value stands
			}
			want := policy.Network{Policy: policy.Default(), Sources: sources(nil)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("a value with a problem was taken (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNetworkKeepsTheGoodValuesBesideTheBad(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"mode": "observe", "clock": 1, "failurePolicy": "fail", "exempt": [{"loopback": true}]}`))
	if len(problems) != 1 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		Policy: policy.Default(), FailurePolicy: policy.Fail,
		Sources: sources(policy.Sources{"mode": "network", "exempt": "network"}),
	}
	want.Policy.Mode, want.Policy.Exempt = policy.Observe, []policy.Exemption{{Loopback: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNetworkMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	_, problems := policy.ParseNetwork([]byte(`{"` + long + `": 1, "mode": "` + long + `", "grace": 1` + many("0", 1<<20) + `}`))
	if len(problems) != 3 {
		t.Fatalf("got %d problems, want 3", len(problems))
	}
	for _, p := range problems {
		if len(p.String()) > 400 {
			t.Errorf("a problem of %d bytes: %.100s", len(p.String()), p)
		}
	}
}

func TestPodAnnotationsCapability(t *testing.T) {
	for conf, want := range map[string]bool{
		`{"capabilities": {"io.kubernetes.cri.pod-annotations": true}}`:                       true,
		`{"capabilities": {"portMappings": true, "io.kubernetes.cri.pod-annotations": true}}`: true,
		`{"capabilities": {"io.kubernetes.cri.pod-annotations": false}}`:                      false,
		`{"capabilities": {"portMappings": true}}`:                                            false,
		`{"capabilities": null}`:                                  false,
		`{"capabilities": ["io.kubernetes.cri.pod-annotations"]}`: false,
		`{}`: false,
	} {
		got, problems := policy.ParseNetwork([]byte(conf))
		if got.PodAnnotations != want || len(problems) > 0 {
			t.Errorf("%s: got %v, %v", conf, got.PodAnnotations, problems)
		}
	}
}
