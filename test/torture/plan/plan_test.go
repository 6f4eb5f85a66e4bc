// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/test/torture/plan"
)

func options(seed uint64) plan.Options {
	return plan.Options{
		Seed: seed, Duration: 2 * time.Minute, Finder: "turns", Concurrent: 12,
		Disturbances: []plan.Entry{{Name: "kill", Weight: 3, Lasts: 5 * time.Second}, {Name: "full", Weight: 1, Lasts: 8 * time.Second}},
	}
}

func TestSameSeedDecidesTheSame(t *testing.T) {
	if a, b := plan.New(options(7)), plan.New(options(7)); !reflect.DeepEqual(a, b) {
		t.Error("two plans of one seed differ")
	}
	if a, b := plan.New(options(7)), plan.New(options(8)); reflect.DeepEqual(a.Namespaces, b.Namespaces) {
		t.Error("the plans of two seeds have the same namespaces")
	}
}

// TestPlansOfSomeSeedsHaveEverything checks the plans of twenty seeds together: a kind that none of them has is never tested.
func TestPlansOfSomeSeedsHaveEverything(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range uint64(20) {
		p := plan.New(options(seed))
		seen["finder "+p.Finder] = true
		for _, d := range p.Disturbances {
			seen["disturbance "+d.Name] = true
		}
		for i := range p.Namespaces {
			n := &p.Namespaces[i]
			for _, c := range n.Connections {
				seen["kind "+c.Kind] = true
				seen["mapped"] = seen["mapped"] || c.Family == plan.Mapped
				seen["loopback"] = seen["loopback"] || c.Loopback
				seen["keepalive"] = seen["keepalive"] || c.Keepalive != nil && c.Keepalive.On
				seen["bound"] = seen["bound"] || c.Binds
			}
			for _, o := range n.Owners {
				seen["frozen"] = seen["frozen"] || slices.ContainsFunc(o.Freezes, func(f plan.Freeze) bool { return !f.Signal })
				seen["stopped"] = seen["stopped"] || slices.ContainsFunc(o.Freezes, func(f plan.Freeze) bool { return f.Signal })
			}
			seen["several attachments"] = seen["several attachments"] || len(n.Attachments) > 1
			for _, a := range n.Attachments {
				seen["changes"] = seen["changes"] || len(a.Changes) > 1
				for _, c := range a.Changes {
					if c.Policy == nil {
						seen["DEL"] = true
						continue
					}
					seen["mode "+c.Policy.Mode.String()] = true
					seen["exempt"] = seen["exempt"] || len(c.Policy.Exempt) > 0
					for _, r := range c.Policy.Rules {
						seen["count"] = seen["count"] || r.Above > 0
						seen["role"] = seen["role"] || r.Match.Role != 0
						seen["command"] = seen["command"] || r.Match.Command != ""
					}
				}
			}
		}
	}
	for _, want := range append(plan.KindNames(),
		"finder bpf", "finder sockdiag", "disturbance kill", "disturbance full", "kind counted", "kind same-addresses", "mapped", "loopback",
		"keepalive", "bound", "frozen", "stopped", "several attachments", "changes", "DEL", "mode off", "mode observe", "mode destroy", "exempt",
		"count", "role", "command",
	) {
		if !seen[want] {
			t.Errorf("no plan has %s", want)
		}
	}
}

func TestEverythingHappensWithinTheDuration(t *testing.T) {
	for seed := range uint64(20) {
		p := plan.New(options(seed))
		for i := range p.Namespaces {
			n := &p.Namespaces[i]
			if n.At >= n.Until || n.Until > p.Duration {
				t.Errorf("seed %d: %s exists from %v to %v", seed, n.Name, n.At, n.Until)
			}
			for _, c := range n.Connections {
				if c.At < n.At || c.Until > n.Until || c.At >= c.Until {
					t.Errorf("seed %d: %s is observed from %v to %v, its namespace exists from %v to %v", seed, c.ID, c.At, c.Until, n.At, n.Until)
				}
			}
		}
		for i, d := range p.Disturbances {
			if d.At > p.Duration || i > 0 && d.At < p.Disturbances[i-1].At {
				t.Errorf("seed %d: %s begins at %v", seed, d.Name, d.At)
			}
		}
	}
}
