// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestPolicyRoundTrip(t *testing.T) {
	for name, p := range map[string]policy.Policy{
		"the built-in policy": policy.Default(),
		"every value of its own": {
			Mode: policy.Observe, CloseWaitGrace: 90 * minute, FinWait2Grace: policy.Never,
			Clock: policy.ClockState, PendingData: policy.PendingDestroy,
			Exempt: []policy.Exemption{
				{LocalPorts: policy.Ports{{22, 22}, {8000, 8999}}},
				{Peers: prefixes("10.0.0.0/8", "2001:db8::7/128"), PeerPorts: policy.Ports{{5432, 5432}}, Loopback: true},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if problems := p.Validate(); len(problems) > 0 {
				t.Errorf("not valid: %v", problems)
			}
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var got policy.Policy
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("read %s: %v", data, err)
			}
			if diff := cmp.Diff(p, got); diff != "" {
				t.Errorf("%s reads back differently (-want +got):\n%s", data, diff)
			}
		})
	}
}

func TestPolicyIsWrittenAsInAConflist(t *testing.T) {
	p := policy.Default()
	p.Exempt = []policy.Exemption{{LocalPorts: policy.Ports{{22, 22}, {8000, 8999}}}, {Loopback: true}}
	got, err := json.Marshal(p)
	want := `{"mode":"destroy","closeWaitGrace":"10m","finWait2Grace":"10m","clock":"progress","pendingData":"keep",` +
		`"exempt":[{"localPorts":"22,8000-8999"},{"loopback":true}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestDamagedRecordNeverBecomesAPolicy(t *testing.T) {
	const good = `{"mode":"destroy","closeWaitGrace":"10m","finWait2Grace":"10m","clock":"progress","pendingData":"keep"}`
	for name, data := range map[string]string{
		"without a mode":                   strings.Replace(good, `"mode":"destroy",`, "", 1),
		"without a grace of CLOSE_WAIT":    strings.Replace(good, `"closeWaitGrace":"10m",`, "", 1),
		"without a grace of FIN_WAIT2":     strings.Replace(good, `"finWait2Grace":"10m",`, "", 1),
		"without a clock":                  strings.Replace(good, `"clock":"progress",`, "", 1),
		"without pendingData":              strings.Replace(good, `,"pendingData":"keep"`, "", 1),
		"with a mode of a newer version":   strings.Replace(good, `"destroy"`, `"reset"`, 1),
		"with a null for a mode":           strings.Replace(good, `"destroy"`, `null`, 1),
		"with the mode's key in capitals":  strings.Replace(good, `"mode"`, `"Mode"`, 1),
		"with two modes":                   strings.Replace(good, `{`, `{"mode":"off",`, 1),
		"with a grace of nothing":          strings.Replace(good, `"10m"`, `"0s"`, 1),
		"with a grace in nanoseconds":      strings.Replace(good, `"10m"`, `600000000000`, 1),
		"with an unknown kind of exempt":   strings.Replace(good, `}`, `,"exempt":[{"loopback":true,"marks":"7"}]}`, 1),
		"with an exempt that is no list":   strings.Replace(good, `}`, `,"exempt":{"loopback":true}}`, 1),
		"that is null":                     `null`,
		"that is empty":                    `{}`,
		"that is a list":                   `[]`,
		"with the key of the conflist":     strings.Replace(good, `closeWaitGrace`, `grace`, 1),
		"with an exempt that asks nothing": strings.Replace(good, `}`, `,"exempt":[{}]}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			var record struct{ Policy policy.Policy }
			err := json.Unmarshal([]byte(`{"policy":`+data+`}`), &record)
			var problems policy.Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Errorf("%s: got %v, want problems", data, err)
			}
			if diff := cmp.Diff(policy.Policy{}, record.Policy); diff != "" {
				t.Errorf("left something behind (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("but a key of a newer version is ignored", func(t *testing.T) {
		var p policy.Policy
		if err := json.Unmarshal([]byte(strings.Replace(good, `{`, `{"colour":"blue",`, 1)), &p); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(policy.Default(), p); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestValidateNamesEveryProblem(t *testing.T) {
	p := policy.Policy{
		Mode: 7, CloseWaitGrace: -minute, Clock: 3, PendingData: 4,
		Exempt: []policy.Exemption{
			{},
			{LocalPorts: policy.Ports{{9, 8}}, PeerPorts: policy.Ports{{0, 5}}},
			{Peers: prefixes("10.1.2.3/8", "::ffff:10.0.0.0/104")},
			{Loopback: true},
			{LocalPorts: make(policy.Ports, 17), Peers: make([]netip.Prefix, 17)},
		},
	}
	want := []string{
		`$.mode: 7 is not a mode`,
		`$.closeWaitGrace: -1m is not a grace: want more than 0, or "never"`,
		`$.finWait2Grace: 0s is not a grace: want more than 0, or "never"`,
		`$.clock: 3 is not a clock`,
		`$.pendingData: 4 is not a pendingData`,
		`$.exempt[0]: an entry without keys would exempt every socket: write "mode": "off" for that`,
		`$.exempt[1].localPorts: 9-8 is not a range of ports`,
		`$.exempt[1].peerPorts: 0-5 is not a range of ports`,
		`$.exempt[2].peers: 10.1.2.3/8 is not a masked network`,
		`$.exempt[2].peers: ::ffff:10.0.0.0/104 is not a masked network`,
		`$.exempt[4].localPorts: 17 ranges, at most 16 are allowed`,
		`$.exempt[4].peers: 17 networks, at most 16 are allowed`,
	}
	if diff := cmp.Diff(want, p.Validate().Strings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (policy.Policy{}).Validate(); len(got) == 0 {
		t.Error("a policy that was never set is valid")
	}
	p = policy.Default()
	p.Exempt = make([]policy.Exemption, 129)
	want = []string{`$.exempt: 129 entries, at most 128 are allowed`}
	if diff := cmp.Diff(want, p.Validate().Strings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoProblemIsNoError(t *testing.T) {
	if err := (policy.Problems{}).Err(); err != nil {
		t.Errorf("got %v", err)
	}
	err := policy.Problems{{Path: "$.mode", Message: "one"}, {Path: "$", Message: "two"}}.Err()
	if want := "$.mode: one; $: two"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
