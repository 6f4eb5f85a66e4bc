// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/policy"
)

// checkLayers fails unless layers survive being written and read.
func checkLayers(t *testing.T, l policy.Layers) {
	t.Helper()
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatalf("write %+v: %v", l, err)
	}
	var back policy.Layers
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatalf("read %s: %v", data, err)
	}
	if diff := cmp.Diff(l, back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s reads back differently (-want +got):\n%s", data, diff)
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(completeObject))
	f.Add([]byte(destroying))
	f.Add([]byte(`{"grace": 600, "Mode": "off", "exempt": [{}], "_x": 1, "cni.dev/y": 2}`))
	f.Add([]byte(`{"mode": "off", "mode": "destroy"}`))
	f.Add([]byte(`{"exempt": [{"peers": "::ffff:10.0.0.0/104,fe80::1%eth0"}, {"localPorts": "1-2,2-3"}, {"uids": "1-2,3,0", "state": "FIN_WAIT2"}]}`))
	f.Add([]byte(`{"rules": [{"match": {"commands": ["nc", "\u0000", "/bin/sh"]}, "above": 1e3, "askSigpipe": null}]}`))
	f.Add([]byte(`[[[[{"":null}`))
	f.Fuzz(func(t *testing.T, conf []byte) {
		n, problems := policy.ParseNetwork(conf)
		checkLayers(t, n.Layers(nil))
		if problems == nil && !json.Valid(conf) {
			t.Errorf("no problem with %q", conf)
		}
		for _, p := range problems {
			if p.Path == "" || p.Path[0] != '$' || p.Message == "" {
				t.Errorf("an empty problem: %+v", p)
			}
		}
		if p := policy.Compose(n.Layer); len(p.Sources) != len(sources(nil)) || p.Mode == 0 || p.ProbeCount == 0 || p.ProbeInterval < time.Second {
			t.Errorf("comes to %+v", p)
		}
		if len(problems) == 0 {
			return
		}
		if again, more := policy.ParseNetwork(conf); !reflect.DeepEqual(n, again) || !reflect.DeepEqual(problems, more) {
			t.Error("read differently the second time")
		}
	})
}

func FuzzLayers(f *testing.F) {
	f.Add([]byte(`{"network":` + `{"mode":"destroy","grace":"1m","rules":[{"match":{"role":"client"},"grace":"2m"}]}` + `,"podOverrides":"relax","annotations":{"a":"b"}}`))
	f.Add([]byte(`{"network":{},"podOverrides":"any","source":"register","observe":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var l policy.Layers
		if err := json.Unmarshal(data, &l); err != nil {
			if !reflect.DeepEqual(l, policy.Layers{}) {
				t.Errorf("%q is refused and yet read", data)
			}
			return
		}
		checkLayers(t, l)
	})
}

func FuzzAnnotations(f *testing.F) {
	for _, conf := range []string{destroying, "{}"} {
		f.Add([]byte(conf), "destroy", "1m", "never", "5m", "state", `[{"loopback": true}]`, `[{"match": {"role": "client"}, "grace": "1s"}]`, "Mode", "x")
		f.Add([]byte(conf), "observe", "", "10m", "0", "progress", `[{"peers": "10.1.0.0/16"}, {"localPorts": "1-9"}]`, `[]`, "\x00", "\xff")
		f.Add([]byte(conf), "off", "2h", "-1s", "1d", "", `[{}]`, `{}`, "grace ", "1m")
		f.Add([]byte(conf), "destroy", "1m", "1m", "1m", "state", `[]`, `[]`, "probe-count", "7")
	}
	f.Fuzz(func(t *testing.T, conf []byte, mode, grace, closeWait, finWait2, clock, exempt, rules, otherName, otherValue string) {
		n, _ := policy.ParseNetwork(conf)
		annotations := pod("mode", mode, "grace", grace, "close-wait-grace", closeWait, "fin-wait2-grace", finWait2,
			"clock", clock, "exempt", exempt, "rules", rules, otherName, otherValue)
		without := policy.Compose(n.Layer)
		for _, overrides := range []policy.PodOverrides{policy.OverridesAny, policy.OverridesRelax, policy.OverridesNone} {
			n.PodOverrides = overrides
			r := n.Layers(annotations).Resolve(0)
			checkWarnings(t, r.Problems)
			switch {
			case overrides == policy.OverridesNone:
				if len(r.Policies) != 1 || !reflect.DeepEqual(r.Policies[0], without) || len(r.Problems) != 1 {
					t.Errorf("annotations had an effect under podOverrides none: %+v, %q", r.Policies, r.Problems)
				}
				continue
			case overrides == policy.OverridesRelax && (len(r.Policies) != 2 || len(r.Problems) == 0 && !reflect.DeepEqual(r.Policies[0], without)):
				t.Errorf("the network's policy is not judged under podOverrides relax: %+v", r.Policies)
			}
			for _, p := range r.Policies {
				if len(r.Problems) > 0 && p.Mode < policy.Observe {
					t.Errorf("mode %v despite %q", p.Mode, r.Problems)
				}
				for _, rule := range p.Rules {
					if m := rule.Values.Mode; len(r.Problems) > 0 && m != nil && *m < policy.Observe {
						t.Errorf("a rule's mode %v despite %q", *m, r.Problems)
					}
				}
			}
		}
	})
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{"22", "22,8000-8999", "65535,1", "5-5,6", " 1 - 2 ,3", "0", "-", ",", "9-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var ports policy.Ports
		if err := ports.UnmarshalText([]byte(s)); err != nil {
			if ports != nil {
				t.Errorf("%q is refused and yet taken as %s", s, ports)
			}
			return
		}
		for i, r := range ports {
			if r.First == 0 || r.Last < r.First || i > 0 && int(r.First) <= int(ports[i-1].Last)+1 {
				t.Errorf("%q is taken as %s", s, ports)
			}
		}
		text, err := ports.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Ports
		if err := back.UnmarshalText(text); err != nil || !reflect.DeepEqual(ports, back) {
			t.Errorf("%q reads back as %s, %v", text, back, err)
		}
	})
}

func FuzzPatience(f *testing.F) {
	for _, s := range []string{"10m", "never", "1h0m0s", "0", "-1s", "1.5h", "2562047h47m16.854775807s", "600", "3d", "1µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var g policy.Patience
		if err := g.UnmarshalText([]byte(s)); err != nil {
			if g != 0 || err.Error() == "" {
				t.Errorf("%q is refused (%v) and yet taken as %s", s, err, g)
			}
			return
		}
		var back policy.Patience
		if err := back.UnmarshalText([]byte(g.String())); g <= 0 || err != nil || back != g {
			t.Errorf("%q is %d, and reads back as %d, %v", s, g, back, err)
		}
	})
}
