// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// completeObject has every key.
const completeObject = `{
  "type": "halfclose",
  "mode": "destroy",
  "grace": "10m",
  "closeWaitGrace": "2m",
  "finWait2Grace": "never",
  "probeAfter": "1m30s",
  "probeCount": 3,
  "probeInterval": "5s",
  "pendingGrace": "1h",
  "clock": "progress",
  "exempt": [
    {"localPorts": "22,8000-8999"}, {"peers": "10.0.0.0/8", "peerPorts": "5432"}, {"loopback": true, "state": "CLOSE_WAIT"} ],
  "rules": [
    {"match": {"role": "client", "uids": "1000-1999", "commands": ["nc"]},
     "mode": "observe", "grace": "2m", "closeWaitGrace": "3m", "finWait2Grace": "never", "probeAfter": "30s",
     "pendingGrace": "never", "clock": "state", "above": 1000, "askSigpipe": true} ],
  "podOverrides": "any",
  "failurePolicy": "ignore",
  "reaper": "auto",
  "capabilities": {"io.kubernetes.cri.pod-annotations": true}
}`

func sources(change policy.Sources) policy.Sources {
	all := policy.Sources{
		"mode": "built-in", "closeWaitGrace": "built-in", "finWait2Grace": "built-in", "probeAfter": "built-in",
		"probeCount": "built-in", "probeInterval": "built-in", "pendingGrace": "built-in", "clock": "built-in",
		"exempt": "built-in", "rules": "built-in",
	}
	maps.Copy(all, change)
	return all
}

// complete is the policy of completeObject.
func complete() policy.Layer {
	return policy.Layer{
		Source: policy.SourceNetwork,
		Values: policy.Values{
			Mode: new(policy.Destroy), Grace: new(10 * minute), CloseWaitGrace: new(2 * minute), FinWait2Grace: new(policy.Never),
			ProbeAfter: new(90 * second), PendingGrace: new(60 * minute), Clock: new(policy.ClockProgress),
		},
		ProbeCount: new(3), ProbeInterval: new(5 * time.Second),
		Exempt: []policy.Match{
			{LocalPorts: policy.Ports{{22, 22}, {8000, 8999}}},
			{Peers: prefixes("10.0.0.0/8"), PeerPorts: policy.Ports{{5432, 5432}}},
			{Loopback: true, State: inetdiag.CloseWait},
		},
		Rules: []policy.Rule{{
			Match: policy.Match{
				Role: policy.RoleClient, UIDs: []policy.UIDRange{{1000, 1999}}, Commands: []string{"nc"},
			},
			Values: policy.Values{
				Mode: new(policy.Observe), Grace: new(2 * minute), CloseWaitGrace: new(3 * minute), FinWait2Grace: new(policy.Never),
				ProbeAfter: new(30 * second), PendingGrace: new(policy.Never), Clock: new(policy.ClockState), Above: new(1000),
				AskSigpipe: new(true),
			},
		}},
	}
}

func TestParseNetworkAcceptsTheCompleteObject(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(completeObject))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		Layer: complete(), PodOverrides: policy.OverridesAny, FailurePolicy: policy.Ignore, Reaper: policy.Auto, PodAnnotations: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNetworkAcceptsEveryValue(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"mode": "observe", "grace": "1h", "clock": "state",
		"exempt": [], "rules": [], "podOverrides": "relax", "failurePolicy": "fail", "reaper": "external"}`))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		Layer: policy.Layer{
			Source: policy.SourceNetwork,
			Values: policy.Values{Mode: new(policy.Observe), Grace: new(60 * minute), Clock: new(policy.ClockState)},
			Exempt: []policy.Match{}, Rules: []policy.Rule{},
		},
		PodOverrides: policy.OverridesRelax, FailurePolicy: policy.Fail, Reaper: policy.External,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, _ := policy.ParseNetwork([]byte(`{"mode": "off", "podOverrides": "none"}`)); *got.Layer.Mode != policy.Off ||
		got.PodOverrides != policy.OverridesNone {
		t.Errorf("got mode %s and podOverrides %s", got.Layer.Mode, got.PodOverrides)
	}
}

func TestParseNetworkIgnoresForeignKeys(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"cniVersion": "1.1.0", "name": "net", "type": "halfclose",
		"capabilities": {"portMappings": true, "io.kubernetes.cri.pod-annotations": false}, "runtimeConfig": {"mode": "off"},
		"args": {"cni": {"labels": []}}, "prevResult": null, "dns": {}, "ipam": {}, "ipMasq": 7,
		"cni.dev/valid-attachments": [], "cni.dev/anything": 1, "_comment": "grace in minutes", "_comment": "twice"}`))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{Layer: policy.Layer{Source: policy.SourceNetwork}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNetworkGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		conf                string
		closeWait, finWait2 policy.Patience
		sources             policy.Sources
	}{
		"nothing said is an hour": {`{}`, 60 * minute, 60 * minute, nil},
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
			`{"finWait2Grace": "3m"}`, 60 * minute, 3 * minute, policy.Sources{"finWait2Grace": "network"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := policy.ParseNetwork([]byte(tt.conf))
			got := policy.Compose(n.Layer)
			if got.CloseWaitGrace != tt.closeWait || got.FinWait2Grace != tt.finWait2 {
				t.Errorf("got %s and %s, want %s and %s", got.CloseWaitGrace, got.FinWait2Grace, tt.closeWait, tt.finWait2)
			}
			if diff := cmp.Diff(sources(tt.sources), got.Sources); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNetworkProblems(t *testing.T) {
	const keys = "clock, closeWaitGrace, exempt, failurePolicy, finWait2Grace, grace, mode, pendingGrace, podOverrides, " +
		"probeAfter, probeCount, probeInterval, reaper, rules"
	const ruleKeys = "match, above, askSigpipe, clock, closeWaitGrace, finWait2Grace, grace, mode, pendingGrace, probeAfter"
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
		"a key in capitals":           {`{"Grace": "1m"}`, []string{`$.Grace: unknown key, did you mean "grace"?`}},
		"a key as an annotation's":    {`{"close-wait-grace": "1m"}`, []string{`$["close-wait-grace"]: unknown key, did you mean "closeWaitGrace"?`}},
		"a key with its end missing":  {`{"closeWait": "1m"}`, []string{`$.closeWait: unknown key, did you mean "closeWaitGrace"?`}},
		"a key of theirs with a typo": {`{"capabilites": {}}`, []string{`$.capabilites: unknown key, did you mean "capabilities"?`}},
		"a key like none":             {`{"timeout": "1m"}`, []string{`$.timeout: unknown key: want one of ` + keys}},
		"a key that is empty":         {`{"": 1}`, []string{`$[""]: unknown key: want one of ` + keys}},
		"a key that is no name":       {`{"a\u0000\n": 1}`, []string{`$["a\x00\n"]: unknown key: want one of ` + keys}},
		"a key of ours given twice":   {`{"mode": "off", "mode": "destroy"}`, []string{`$.mode: given more than once`}},
		"a key of rules outside of one": {
			`{"above": 10}`, []string{`$.above: unknown key: want one of ` + keys},
		},
		"overrides with a typo":        {`{"podOverrides": "relaxed"}`, []string{`$.podOverrides: unknown podOverrides "relaxed", did you mean "relax"?`}},
		"failure policy of Kubernetes": {`{"failurePolicy": "Ignore"}`, []string{`$.failurePolicy: unknown failurePolicy "Ignore", did you mean "ignore"?`}},
		"reaper like none":             {`{"reaper": "systemd"}`, []string{`$.reaper: unknown reaper "systemd": want "auto" or "external"`}},
		"too few probes":               {`{"probeCount": 0}`, []string{`$.probeCount: 0 is not from 1 to 127`}},
		"too many probes":              {`{"probeCount": 128}`, []string{`$.probeCount: 128 is not from 1 to 127`}},
		"probes in quotes":             {`{"probeCount": "6"}`, []string{`$.probeCount: want a number of probes such as 6, got a string: write 6`}},
		"half a probe":                 {`{"probeCount": 1.5}`, []string{`$.probeCount: want a number of probes such as 6, got the number 1.5`}},
		"half a second between probes": {`{"probeInterval": "500ms"}`, []string{`$.probeInterval: 500ms is not a whole number of seconds from 1s to 9h6m7s`}},
		"no end between probes":        {`{"probeInterval": "never"}`, []string{`$.probeInterval: never is not a whole number of seconds from 1s to 9h6m7s`}},
		"probes too far apart":         {`{"probeInterval": "32768s"}`, []string{`$.probeInterval: 9h6m8s is not a whole number of seconds from 1s to 9h6m7s`}},
		"rules that are no list": {
			`{"rules": {"match": {}}}`, []string{`$.rules: want a list such as [{"match": {"role": "client"}, "grace": "10m"}], got an object`},
		},
		"a rule without a match": {
			`{"rules": [{"grace": "1m"}]}`, []string{`$.rules[0]: "match" is missing: which sockets is the rule for?`},
		},
		"a rule that matches all": {
			`{"rules": [{"match": {"_why": 1}, "grace": "1m"}]}`,
			[]string{`$.rules[0].match: a match without keys would match every socket: give the values outside the rules`},
		},
		"a rule without values": {
			`{"rules": [{"match": {"role": "client"}, "_why": 1}]}`,
			[]string{`$.rules[0]: a rule without values changes nothing: give it some, or write it into "exempt"`},
		},
		"a rule with its match beside its values": {
			`{"rules": [{"localPorts": "22", "grace": "1m"}]}`,
			[]string{
				`$.rules[0].localPorts: belongs into "match": write "match": {"localPorts": ...}`,
				`$.rules[0]: "match" is missing: which sockets is the rule for?`,
			},
		},
		"a rule with values that it cannot have": {
			`{"rules": [{"match": {"role": "client"}, "probeCount": 3, "pendingGrac": "1m", "colour": 1}]}`,
			[]string{
				`$.rules[0].probeCount: is the same for all sockets: give it outside of the rules`,
				`$.rules[0].pendingGrac: unknown key, did you mean "pendingGrace"?`,
				`$.rules[0].colour: unknown key: want one of ` + ruleKeys,
			},
		},
		"a rule with wrong values": {
			`{"rules": [{"match": {"role": "client"}, "above": 0, "askSigpipe": "yes", "mode": "kill", "grace": "1d"}, 7]}`,
			[]string{
				`$.rules[0].above: 0 is not from 1 to 10000000`,
				`$.rules[0].askSigpipe: want true or false, got a string`,
				`$.rules[0].mode: unknown mode "kill": want "destroy", "observe" or "off"`,
				`$.rules[0].grace: "1d": Go durations have no days: write "24h"`,
				`$.rules[1]: want an object, got the number 7`,
			},
		},
		"above where nothing is destroyed": {
			`{"rules": [{"match": {"role": "client"}, "above": 9, "mode": "off"}, {"match": {"role": "client"}, "above": 9, "grace": "never"},
			  {"match": {"state": "CLOSE_WAIT"}, "above": 9, "closeWaitGrace": "never", "grace": "1m"}]}`,
			[]string{
				`$.rules[0].above: has no effect beside "mode": "off", which destroys nothing`,
				`$.rules[1].above: has no effect beside "grace": "never": above counts the sockets that are past their grace`,
				`$.rules[2].above: has no effect beside "grace": "never": above counts the sockets that are past their grace`,
			},
		},
		"more rules than there may be": {
			`{"rules": [` + manyRules(65) + `]}`, []string{`$.rules: 65 entries, at most 64 are allowed`},
		},
		"more rules and exemptions than there may be": {
			`{"exempt": [{"loopback": true}], "rules": [` + manyRules(64) + `]}`,
			[]string{`$: 65 rules and exemptions, at most 64 are allowed together`},
		},
		"every one at once, as they stand": {
			`{"reaper": 1, "clock": "wall", "graze": "1m", "exempt": [{"peers": "10.0.0.1/8"}, {}], "mode": "", "finWait2Grace": "0s"}`,
			[]string{
				`$.reaper: want a string such as "auto", got the number 1`,
				`$.clock: unknown clock "wall": want "progress" or "state"`,
				`$.graze: unknown key, did you mean "grace"?`,
				`$.exempt[0].peers: "10.0.0.1/8" has bits set beyond its length: write "10.0.0.0/8", or "10.0.0.1" for the one address`,
				`$.exempt[1]: an entry without keys would exempt every socket: write "mode": "off" for that`,
				`$.mode: unknown mode "": want "destroy", "observe" or "off"`,
				`$.finWait2Grace: "0s" is too short: want more than 0, or "never"`,
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
			want := policy.Network{Layer: policy.Layer{Source: policy.SourceNetwork}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("a value with a problem was taken (-want +got):\n%s", diff)
			}
		})
	}
}

func manyRules(n int) string {
	return `{"match": {"role": "client"}, "grace": "1m"}` + many(`, {"match": {"role": "client"}, "grace": "1m"}`, n-1)
}

func TestParseNetworkAcceptsTheMaximumOfRulesAndExemptions(t *testing.T) {
	n, problems := policy.ParseNetwork([]byte(`{"exempt": [{"loopback": true}], "rules": [` + manyRules(63) + `]}`))
	if len(problems) > 0 || len(n.Layer.Rules) != 63 {
		t.Errorf("%d rules, %v", len(n.Layer.Rules), problems)
	}
}

func TestParseNetworkAcceptsAboveIfOneStateHasAGrace(t *testing.T) {
	_, problems := policy.ParseNetwork([]byte(`{"rules": [{"match": {"role": "client"}, "above": 9, "closeWaitGrace": "never", "grace": "1m"}]}`))
	if len(problems) > 0 {
		t.Error(problems)
	}
}

func TestParseNetworkKeepsTheValidValues(t *testing.T) {
	got, problems := policy.ParseNetwork([]byte(`{"mode": "observe", "clock": 1, "failurePolicy": "fail", "exempt": [{"loopback": true}]}`))
	if len(problems) != 1 {
		t.Errorf("problems: %v", problems)
	}
	want := policy.Network{
		FailurePolicy: policy.Fail,
		Layer: policy.Layer{
			Source: policy.SourceNetwork, Values: policy.Values{Mode: new(policy.Observe)}, Exempt: []policy.Match{{Loopback: true}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestValueWithoutAnyEffectIsAProblem(t *testing.T) {
	for rule, want := range map[string]string{
		`{"match": {"state": "CLOSE_WAIT"}, "finWait2Grace": "never"}`:              `write "closeWaitGrace"`,
		`{"match": {"state": "FIN_WAIT2"}, "closeWaitGrace": "never"}`:              `write "finWait2Grace"`,
		`{"match": {"role": "client"}, "closeWaitGrace": "never"}`:                  "",
		`{"match": {"role": "client"}, "mode": "off", "askSigpipe": true}`:          `beside "mode": "off"`,
		`{"match": {"role": "client"}, "probeAfter": "never", "askSigpipe": true}`:  `beside "probeAfter": "never"`,
		`{"match": {"role": "client"}, "probeAfter": "never", "askSigpipe": false}`: "",
		`{"match": {"loopback": true, "peers": "10.0.0.0/8"}, "grace": "1m"}`:       "", // was accepted by earlier versions, and records contain it
		`{"match": {"role": "client"}, "grace": "1m", "probeAfter": "2m"}`:          "", // pending bytes make the grace longer
		`{"match": {"role": "client"}, "grace": "10m", "pendingGrace": "1m"}`:       "", // otherwise it is the base one
	} {
		_, problems := policy.ParseNetwork([]byte(`{"rules": [` + rule + `]}`))
		if text := strings.Join(problems.Strings(), "; "); (want == "") != (text == "") || !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q", rule, text, want)
		}
	}
}

func TestFirstValueOfARepeatedKeyCounts(t *testing.T) {
	for _, conf := range []string{`{"mode": "off", "mode": "destroy"}`, `{"mode": "off", "mode": "destroy", "mode": "observe"}`} {
		if n, problems := policy.ParseNetwork([]byte(conf)); len(problems) == 0 || *n.Layer.Mode != policy.Off {
			t.Errorf("%s: mode %v, %v", conf, *n.Layer.Mode, problems)
		}
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

func TestHintsAreBounded(t *testing.T) {
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf(`"grac%d": 1`, i))
	}
	_, problems := policy.ParseNetwork([]byte("{" + strings.Join(keys, ",") + "}"))
	hints := 0
	for _, p := range problems {
		if strings.Contains(p.Message, "did you mean") {
			hints++
		}
	}
	if len(problems) != 65 || problems[64].String() != "$: and 936 more" || hints == 0 || hints > 64 {
		t.Errorf("%d problems, %d with a hint", len(problems), hints)
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

func TestLayerRoundTrip(t *testing.T) {
	for name, l := range map[string]policy.Layer{
		"an empty one":             {},
		"every value":              complete(),
		"lists that clear a layer": {Exempt: []policy.Match{}, Rules: []policy.Rule{}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			got := policy.Layer{Source: l.Source}
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("read %s: %v", data, err)
			}
			if diff := cmp.Diff(l, got); diff != "" {
				t.Errorf("%s reads back differently (-want +got):\n%s", data, diff)
			}
		})
	}
}

func TestLayerIsWrittenAsInAConflist(t *testing.T) {
	got, err := json.Marshal(complete())
	want := `{"mode":"destroy","grace":"10m","closeWaitGrace":"2m","finWait2Grace":"never","probeAfter":"1m30s","pendingGrace":"1h",` +
		`"clock":"progress","probeCount":3,"probeInterval":"5s","exempt":[{"localPorts":"22,8000-8999"},` +
		`{"peerPorts":"5432","peers":"10.0.0.0/8"},{"state":"CLOSE_WAIT","loopback":true}],"rules":[{"match":{"role":"client",` +
		`"uids":"1000-1999","commands":["nc"]},"mode":"observe","grace":"2m","closeWaitGrace":"3m","finWait2Grace":"never",` +
		`"probeAfter":"30s","pendingGrace":"never","clock":"state","above":1000,"askSigpipe":true}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestLayersRoundTrip(t *testing.T) {
	for name, l := range map[string]policy.Layers{
		"nothing said":      {Network: policy.Layer{Source: policy.SourceNetwork}},
		"everything":        {Network: complete(), Annotations: pod("grace", "1m", "x", ""), PodOverrides: policy.OverridesRelax, Observe: "wrong configuration"},
		"another source":    {Network: policy.Layer{Source: "register"}, PodOverrides: policy.OverridesNone},
		"annotations alone": {Network: policy.Layer{Source: policy.SourceNetwork}, Annotations: map[string]string{"a/b": "\x00\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			var got policy.Layers
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("read %s: %v", data, err)
			}
			if diff := cmp.Diff(l, got); diff != "" {
				t.Errorf("%s reads back differently (-want +got):\n%s", data, diff)
			}
		})
	}
}

func TestDamagedLayersAreNeverRead(t *testing.T) {
	const good = `{"network":{"mode":"destroy","grace":"1m","exempt":[{"loopback":true}],"rules":[{"match":{"role":"client"},"grace":"2m"}]},` +
		`"annotations":{"halfclose.cni/mode":"off"},"podOverrides":"relax","observe":"x"}`
	if err := json.Unmarshal([]byte(good), new(policy.Layers)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"without a network":               `{"podOverrides":"any"}`,
		"without podOverrides":            `{"network":{}}`,
		"with overrides of a newer kind":  strings.Replace(good, `"relax"`, `"most"`, 1),
		"with a key of a newer version":   strings.Replace(good, `{"network"`, `{"colour":"blue","network"`, 1),
		"with a newer key in the layer":   strings.Replace(good, `"mode"`, `"colour":"blue","mode"`, 1),
		"with a newer key in a match":     strings.Replace(good, `"loopback":true`, `"loopback":true,"marks":"7"`, 1),
		"with a newer key in a rule":      strings.Replace(good, `"grace":"2m"`, `"grace":"2m","unless":"7"`, 1),
		"with a mode of a newer version":  strings.Replace(good, `"destroy"`, `"reset"`, 1),
		"with a null for a mode":          strings.Replace(good, `"destroy"`, `null`, 1),
		"with the mode's key in capitals": strings.Replace(good, `"mode"`, `"Mode"`, 1),
		"with two modes":                  strings.Replace(good, `{"mode"`, `{"mode":"off","mode"`, 1),
		"with two networks":               strings.Replace(good, `{"network"`, `{"network":{},"network"`, 1),
		"with a grace of nothing":         strings.Replace(good, `"1m"`, `"0s"`, 1),
		"with a grace in nanoseconds":     strings.Replace(good, `"1m"`, `600000000000`, 1),
		"with annotations of null":        strings.Replace(good, `{"halfclose.cni/mode":"off"}`, `null`, 1),
		"with an annotation of null":      strings.Replace(good, `:"off"`, `:null`, 1),
		"with no reason to observe":       strings.Replace(good, `"x"`, `""`, 1),
		"that is null":                    `null`,
		"that is empty":                   `{}`,
		"that is a list":                  `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			var record struct{ Layers policy.Layers }
			err := json.Unmarshal([]byte(`{"layers":`+data+`}`), &record)
			if problems, ok := errors.AsType[policy.Problems](err); data != "null" && (!ok || len(problems) == 0) {
				t.Errorf("%s: got %v, want problems", data, err)
			}
			if diff := cmp.Diff(policy.Layers{}, record.Layers); diff != "" {
				t.Errorf("left something behind (-want +got):\n%s", diff)
			}
		})
	}
}
