// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestAddAppliesAnnotationsAsFarAsTheNetworkLetsThem(t *testing.T) {
	annotations := object{"halfclose.cni/grace": "1m", "halfclose.cni/mode": "observe", "example.org/team": "blue"}
	tests := []struct {
		name      string
		overrides string
		grace     time.Duration
		mode      policy.Mode
		warnings  int
	}{
		{"any value", "any", time.Minute, policy.Observe, 0},
		{"only the more careful one", "relax", 5 * time.Minute, policy.Observe, 1},
		{"none", "none", 5 * time.Minute, policy.Destroy, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			conf := chained("1.0.0").with(annotated(annotations)).with(object{"grace": "5m", "podOverrides": tt.overrides, "failurePolicy": "fail"})
			n.call(t, "ADD", conf).ok(t)
			r := n.record(t, blue)
			if got := time.Duration(r.Policy.CloseWaitGrace); got != tt.grace {
				t.Errorf("grace %v, want %v", got, tt.grace)
			}
			if r.Policy.Mode != tt.mode {
				t.Errorf("mode %v, want %v", r.Policy.Mode, tt.mode)
			}
			if len(r.Warnings) == 0 != (tt.warnings == 0) {
				t.Errorf("warnings %q, want %d", r.Warnings, tt.warnings)
			}
		})
	}
}

func TestAddNeverBlocksAPodForItsAnnotations(t *testing.T) {
	declared := object{"capabilities": object{policy.CapabilityPodAnnotations: true}}
	tests := []struct {
		name string
		conf object
		warn string // what the record's warnings say; nothing if empty
		mode policy.Mode
	}{
		{"a wrong value", annotated(object{"halfclose.cni/grace": "soon", "halfclose.cni/mode": "observe"}), "halfclose.cni/grace", policy.Observe},
		{"an unknown one of ours", annotated(object{"halfclose.cni/graec": "1m"}), "halfclose.cni/graec", policy.Destroy},
		{"one that is no string", annotated(object{"halfclose.cni/grace": 60, "halfclose.cni/mode": "observe"}), "halfclose.cni/grace", policy.Observe},
		{"one that is null", annotated(object{"halfclose.cni/grace": null, "halfclose.cni/mode": "observe"}), "halfclose.cni/grace", policy.Observe},
		{"somebody else's that is no string", annotated(object{"example.org/n": 60, "halfclose.cni/mode": "observe"}), "", policy.Observe},
		{"tens of kilobytes of somebody else's", annotated(object{
			"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat(`{"a":"b"}`, 5000), "halfclose.cni/mode": "observe",
		}), "", policy.Observe},
		{"annotations that are null", annotated(null), "", policy.Destroy},
		{"annotations that are no object", annotated([]string{"halfclose.cni/mode=off"}), "annotations are ignored", policy.Destroy},
		{"runtimeConfig that is null", declared.with(object{"runtimeConfig": null}), "", policy.Destroy},
		{"runtimeConfig that is no object", declared.with(object{"runtimeConfig": "none"}), "annotations are ignored", policy.Destroy},
		{"no runtimeConfig", declared, "", policy.Destroy},
		{"runtimeConfig of another capability", declared.with(object{"runtimeConfig": object{"portMappings": []int{}}}), "", policy.Destroy},
	}
	for _, tt := range tests {
		for _, failure := range []string{"ignore", "fail"} {
			t.Run(tt.name+", "+failure, func(t *testing.T) {
				n := newNode(t)
				o := n.call(t, "ADD", chained("1.0.0").with(tt.conf).with(object{"failurePolicy": failure})).ok(t)
				r := n.record(t, blue)
				if r.Policy.Mode != tt.mode {
					t.Errorf("mode %v, want %v", r.Policy.Mode, tt.mode)
				}
				if r.Policy.CloseWaitGrace != policy.Default().CloseWaitGrace {
					t.Errorf("grace %v, want the default", r.Policy.CloseWaitGrace)
				}
				if tt.warn == "" {
					o.calm(t)
					if r.Warnings != nil {
						t.Errorf("warnings %q, want none", r.Warnings)
					}
					return
				}
				if got := strings.Join(r.Warnings, "\n"); len(r.Warnings) != 1 || !strings.Contains(got, tt.warn) {
					t.Errorf("warnings %q, want one about %s", r.Warnings, tt.warn)
				}
				if !strings.Contains(o.stderr, tt.warn) || !strings.Contains(strings.Join(o.syslog, ""), tt.warn) {
					t.Errorf("nothing about %s in stderr %q and the system log %q", tt.warn, o.stderr, o.syslog)
				}
			})
		}
	}
}

func TestAddBoundsAndEscapesWhatAPodSupplies(t *testing.T) {
	bad := object{}
	for i := range 1000 {
		bad["halfclose.cni/\x1b[2J\n"+strings.Repeat("x", i)] = i
	}
	n := newNode(t)
	o := n.call(t, "ADD", chained("1.0.0").with(annotated(bad))).ok(t)
	if r := n.record(t, blue); len(r.Warnings) == 0 || len(r.Warnings) > 20 {
		t.Errorf("%d warnings, want a few", len(r.Warnings))
	}
	if strings.ContainsRune(o.stderr, '\x1b') || strings.Count(o.stderr, "\n") > 20 || len(o.stderr) > 1<<14 {
		t.Errorf("stderr is not escaped or bounded: %q", o.stderr)
	}
}
