// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestCheckLeavesAnIntactRecordAlone(t *testing.T) {
	each(t, checkVersions, func(t *testing.T, version string) {
		n := newNode(t)
		n.call(t, "ADD", chained(version)).ok(t)
		name, err := blue.FileName()
		if err != nil {
			t.Fatal(err)
		}
		path := n.store.AttachmentsDir() + "/" + name
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		n.starts = 0
		n.call(t, "CHECK", chained(version).with(object{"grace": "1s", "mode": "off"})).silent(t)
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || n.starts != 0 {
			t.Errorf("the record was written again, or %d reapers started", n.starts)
		}
	})
}

func TestCheckRepairsAMissingRecord(t *testing.T) {
	annotations := object{"halfclose.cni/grace": "1m"}
	declared := object{"capabilities": object{policy.CapabilityPodAnnotations: true}}
	tests := []struct {
		name  string
		conf  object
		mode  policy.Mode
		grace time.Duration
		warns string // besides that it was missing
	}{
		{"as ADD would with the annotations at hand", annotated(annotations), policy.Destroy, time.Minute, ""},
		{"as ADD would with annotations that say nothing to us", annotated(object{}), policy.Destroy, 5 * time.Minute, ""},
		{"as ADD would where no annotations are asked for", object{}, policy.Destroy, 5 * time.Minute, ""},
		{"as ADD would where the capability is switched off", object{"capabilities": object{policy.CapabilityPodAnnotations: false}}, policy.Destroy, 5 * time.Minute, ""},
		{"as ADD would where annotations change nothing", declared.with(object{"podOverrides": "none"}), policy.Destroy, 5 * time.Minute, ""},
		{"as observe without runtimeConfig", declared, policy.Observe, 5 * time.Minute, "was not told the pod's annotations"},
		{"as observe with a runtimeConfig of null", declared.with(object{"runtimeConfig": null}), policy.Observe, 5 * time.Minute, "was not told the pod's annotations"},
		{"as observe with annotations of null", annotated(null), policy.Observe, 5 * time.Minute, "was not told the pod's annotations"},
		{"as observe under relax", declared.with(object{"podOverrides": "relax"}), policy.Observe, 5 * time.Minute, "was not told the pod's annotations"},
		{"as off where the network is", declared.with(object{"mode": "off"}), policy.Off, 5 * time.Minute, "was not told the pod's annotations"},
		{"as observe with a wrong configuration, even under fail", object{"failurePolicy": "fail", "graec": "1m"}, policy.Observe, 5 * time.Minute, "$.graec"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, checkVersions, func(t *testing.T, version string) {
				n := newNode(t)
				o := n.call(t, "CHECK", chained(version).with(object{"grace": "5m"}).with(tt.conf)).ok(t)
				if o.stdout != "" {
					t.Errorf("stdout %q, want none", o.stdout)
				}
				r := n.record(t, blue)
				if got := time.Duration(r.Policy.CloseWaitGrace); r.Policy.Mode != tt.mode || got != tt.grace {
					t.Errorf("mode %v, grace %v, want %v, %v", r.Policy.Mode, got, tt.mode, tt.grace)
				}
				if diff := cmp.Diff(state.Pod{Namespace: "shop", Name: "web", UID: "u-1"}, r.Pod); diff != "" {
					t.Errorf("pod (-want +got):\n%s", diff)
				}
				want := 1
				if tt.warns != "" {
					want = 2
				}
				if got := strings.Join(r.Warnings, "\n"); len(r.Warnings) != want || !strings.Contains(got, tt.warns) || !strings.Contains(got, "missing") {
					t.Errorf("warnings %q, want that it was missing, and %q", r.Warnings, tt.warns)
				}
				if n.starts != 1 {
					t.Errorf("started %d reapers, want one", n.starts)
				}
				n.call(t, "CHECK", chained(version)).silent(t)
			})
		})
	}
}

func TestCheckReplacesARecordThatCannotBeRead(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half-written": `{"version": 1, "netw`, "newer": `{"version": 99}`, "alien": "[]"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.damage(t, blue, content)
			o := n.call(t, "CHECK", chained("1.0.0")).ok(t)
			if r := n.record(t, blue); r.Policy.Mode != policy.Destroy || len(r.Warnings) != 1 {
				t.Errorf("mode %v, warnings %q, want destroy and one", r.Policy.Mode, r.Warnings)
			}
			if !strings.Contains(o.stderr, "replaced") {
				t.Errorf("stderr %q, want that the record was replaced", o.stderr)
			}
		})
	}
}

func TestCheckErrsOnlyWhereTheRecordNamesAnotherNamespace(t *testing.T) {
	elsewhere := nstest.New(t).Path()
	tests := []struct {
		name  string
		spoil func(t *testing.T, n *node)
		code  uint // 0 is success
	}{
		{"another namespace at CNI_NETNS", func(_ *testing.T, n *node) { n.netns = elsewhere }, types.ErrInvalidNetNS},
		{"a record of another boot", func(t *testing.T, n *node) {
			r := n.record(t, blue)
			r.Boot = "00000000-0000-4000-8000-000000000000"
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}, types.ErrInvalidNetNS},
		{"the same inode under another cookie", func(t *testing.T, n *node) {
			r := n.record(t, blue)
			r.Netns.Cookie++
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}, types.ErrInvalidNetNS},
		{"the same namespace by another path", func(t *testing.T, n *node) {
			r := n.record(t, blue)
			r.Netns.Path = "/run/netns/by-another-name"
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"nothing at CNI_NETNS", func(t *testing.T, n *node) { n.netns = t.TempDir() + "/gone" }, 0},
		{"no record, and nothing at CNI_NETNS to repair it from", func(t *testing.T, n *node) {
			n.netns = t.TempDir() + "/gone"
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"no record, and the plugin's own namespace at CNI_NETNS", func(t *testing.T, n *node) {
			n.netns = "/proc/thread-self/ns/net"
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"no record, and an unusable state directory", func(t *testing.T, n *node) {
			if err := os.RemoveAll(n.store.Dir()); err != nil {
				t.Fatal(err)
			}
			n.unusable(t)
		}, 0},
		{"no record, and a reaper that cannot be started", func(t *testing.T, n *node) {
			n.fail = errors.New("fork: out of processes")
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0")).ok(t)
			tt.spoil(t, n)
			before, _ := n.store.Get(blue)
			o := n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail"}))
			if tt.code == 0 {
				o.ok(t)
				return
			}
			if e := o.cniError(t); e.Code != tt.code {
				t.Errorf("%+v, want code %d", e, tt.code)
			}
			if diff := cmp.Diff(before, n.record(t, blue)); diff != "" {
				t.Errorf("the record was changed (-before +after):\n%s", diff)
			}
		})
	}
}
