// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// halfClosed are the states that have a grace.
var halfClosed = map[inetdiag.State]bool{inetdiag.CloseWait: true, inetdiag.FinWait2: true}

// checkPolicy fails unless the policy is valid and survives being written and read.
func checkPolicy(t *testing.T, p policy.Policy) {
	t.Helper()
	if problems := p.Validate(); len(problems) > 0 {
		t.Errorf("not valid: %v", problems)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatalf("write %+v: %v", p, err)
	}
	var back policy.Policy
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatalf("read %s: %v", data, err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("%s reads back differently (-want +got):\n%s", data, diff)
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(completeObject))
	f.Add([]byte(`{"grace": 600, "Mode": "off", "exempt": [{}], "_x": 1, "cni.dev/y": 2}`))
	f.Add([]byte(`{"mode": "off", "mode": "destroy"}`))
	f.Add([]byte(`{"exempt": [{"peers": "::ffff:10.0.0.0/104,fe80::1%eth0"}, {"localPorts": "1-2,2-3"}]}`))
	f.Add([]byte(`[[[[{"":null}`))
	f.Fuzz(func(t *testing.T, conf []byte) {
		n, problems := policy.ParseNetwork(conf)
		checkPolicy(t, n.Policy)
		if problems == nil && !json.Valid(conf) {
			t.Errorf("no problem with %q", conf)
		}
		for _, p := range problems {
			if p.Path == "" || p.Path[0] != '$' || p.Message == "" {
				t.Errorf("an empty problem: %+v", p)
			}
		}
		if len(n.Sources) != 6 {
			t.Errorf("sources: %v", n.Sources)
		}
		if len(problems) == 0 {
			return
		}
		if again, more := policy.ParseNetwork(conf); !reflect.DeepEqual(n, again) || !reflect.DeepEqual(problems, more) {
			t.Error("read differently the second time")
		}
	})
}

func FuzzAnnotations(f *testing.F) {
	for _, conf := range []string{careless, cautious} {
		conf = fmt.Sprintf(conf, "any")
		f.Add([]byte(conf), "destroy", "1m", "never", "5m", "state", "destroy", `[{"loopback": true}]`, "Mode", "x")
		f.Add([]byte(conf), "observe", "", "10m", "0", "progress", "keep", `[{"peers": "10.1.0.0/16"}, {"localPorts": "1-9"}]`, "\x00", "\xff")
		f.Add([]byte(conf), "off", "2h", "-1s", "1d", "", "", `[{}]`, "grace ", "1m")
	}
	f.Fuzz(func(t *testing.T, conf []byte, mode, grace, closeWait, finWait2, clock, pending, exempt, otherName, otherValue string) {
		n, _ := policy.ParseNetwork(conf)
		annotations := pod("mode", mode, "grace", grace, "close-wait-grace", closeWait, "fin-wait2-grace", finWait2,
			"clock", clock, "pending-data", pending, "exempt", exempt, otherName, otherValue)
		for _, overrides := range []policy.PodOverrides{policy.OverridesAny, policy.OverridesRelax, policy.OverridesNone} {
			n.PodOverrides = overrides
			p, from, warnings := n.WithAnnotations(annotations)
			checkPolicy(t, p)
			checkWarnings(t, warnings)
			if len(from) != 6 {
				t.Errorf("sources: %v", from)
			}
			if overrides == policy.OverridesNone && (!reflect.DeepEqual(p, n.Policy) || len(warnings) != 1) {
				t.Errorf("annotations had an effect under podOverrides none: %+v, %q", p, warnings)
			}
			if overrides != policy.OverridesRelax {
				continue
			}
			for port := range uint8(16) {
				if !asCareful(p, n.Policy, port, 15-port) {
					t.Fatalf("less careful than the network under podOverrides relax:\n%+v\n%+v", p, n.Policy)
				}
			}
			for _, e := range n.Policy.Exempt {
				if !hasExemption(p, e) {
					t.Errorf("lost the network's exemption of %s", e)
				}
			}
		}
	})
}

func hasExemption(p policy.Policy, e policy.Exemption) bool {
	for _, have := range p.Exempt {
		if have.Equal(e) {
			return true
		}
	}
	return false
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

func FuzzGrace(f *testing.F) {
	for _, s := range []string{"10m", "never", "1h0m0s", "0", "-1s", "1.5h", "2562047h47m16.854775807s", "600", "3d", "1µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var g policy.Grace
		if err := g.UnmarshalText([]byte(s)); err != nil {
			if g != 0 || err.Error() == "" {
				t.Errorf("%q is refused (%v) and yet taken as %s", s, err, g)
			}
			return
		}
		var back policy.Grace
		if err := back.UnmarshalText([]byte(g.String())); g <= 0 || err != nil || back != g {
			t.Errorf("%q is %d, and reads back as %d, %v", s, g, back, err)
		}
	})
}
