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
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestCheckLeavesAnIntactRecordAlone(t *testing.T) {
	each(t, checkVersions, func(t *testing.T, version string) {
		n := newNode(t)
		n.call(t, "ADD", chained(version)).ok(t)
		path := n.file(t, blue)
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
		{"as observe without runtimeConfig", declared, policy.Observe, 5 * time.Minute, "did not get the pod's annotations"},
		{"as observe with a runtimeConfig of null", declared.with(object{"runtimeConfig": null}), policy.Observe, 5 * time.Minute, "did not get the pod's annotations"},
		{"as observe with annotations of null", annotated(null), policy.Observe, 5 * time.Minute, "did not get the pod's annotations"},
		{"as observe under relax", declared.with(object{"podOverrides": "relax"}), policy.Observe, 5 * time.Minute, "did not get the pod's annotations"},
		{"as off where the network is", declared.with(object{"mode": "off"}), policy.Off, 5 * time.Minute, "did not get the pod's annotations"},
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
				if got := time.Duration(joined(r).CloseWaitGrace); joined(r).Mode != tt.mode || got != tt.grace {
					t.Errorf("mode %v, grace %v, want %v, %v", joined(r).Mode, got, tt.mode, tt.grace)
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

func TestCheckLeavesARecordThatCannotBeReadAlone(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half-written": `{"version": 1, "netw`, "newer": `{"version": 99}`, "alien": "[]"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			path := n.damage(t, blue, content)
			o := n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail"})).ok(t)
			if data, err := os.ReadFile(path); err != nil || string(data) != content {
				t.Errorf("the file has %q now (%v), want it untouched", data, err)
			}
			if o.stdout != "" || !strings.Contains(o.stderr, "left as it is") || len(o.syslog) != 1 || n.starts != 0 {
				t.Errorf("%+v, started %d reapers, want nothing but a warning", o, n.starts)
			}
			n.call(t, "ADD", chained("1.0.0")).ok(t).calm(t)
			n.call(t, "CHECK", chained("1.0.0")).silent(t)
		})
	}
	t.Run("of an I/O error", func(t *testing.T) {
		n := newNode(t)
		n.put(t, "blue", blue)
		before := n.record(t, blue)
		// The first page of a process is never mapped: it reads as a disk that is broken does.
		inMounts(t, func() error {
			return unix.Mount("/proc/self/mem", n.file(t, blue), "", unix.MS_BIND, "")
		}, func() {
			if o := n.call(t, "CHECK", chained("1.0.0")).ok(t); !strings.Contains(o.stderr, "left as it is: ") || !strings.Contains(o.stderr, "input/output error") || n.starts != 0 {
				t.Errorf("%+v, started %d reapers, want nothing but a warning", o, n.starts)
			}
		})
		if diff := compare(before, n.record(t, blue)); diff != "" {
			t.Errorf("the record was changed (-before +after):\n%s", diff)
		}
	})
}

func TestCheckWritesTheRecordOfAnotherBootAnew(t *testing.T) {
	for mode, want := range map[string]policy.Mode{"destroy": policy.Observe, "observe": policy.Observe, "off": policy.Off} {
		t.Run(mode, func(t *testing.T) {
			n := newNode(t)
			conf := chained("1.0.0").with(object{"mode": mode}).with(annotated(object{}))
			n.call(t, "ADD", conf).ok(t)
			r := n.record(t, blue)
			r.Boot = "00000000-0000-4000-8000-000000000000"
			r.Netns.Inode++ // what it says means nothing
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
			o := n.call(t, "CHECK", conf.with(object{"failurePolicy": "fail"})).ok(t)
			if o.stdout != "" || !strings.Contains(o.stderr, "another boot") {
				t.Errorf("stdout %q, stderr %q, want nothing and a warning", o.stdout, o.stderr)
			}
			r = n.record(t, blue)
			if r.Boot != bootID(t) || r.Netns.Identity != identityOf(t, n.netns) || joined(r).Mode != want || len(r.Warnings) != 1 {
				t.Errorf("record %+v, want one of this boot in mode %v with a warning", r, want)
			}
			n.call(t, "CHECK", conf).silent(t)
		})
	}
}

// The second ADD of the attachment is of another namespace, and there is no room for its record.
func TestCheckDoesNotErrBecauseOfARecordThatAddCouldNotReplace(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(n.store.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	later := nstest.New(t).Path()
	inMounts(t, n.cramped, func() {
		n.put(t, "blue", blue)
		n.fill(t)
		n.netns = later
		if o := n.call(t, "ADD", chained("1.0.0")).ok(t); !strings.Contains(o.stderr, "no space left") {
			t.Errorf("ADD: stderr %q, want that there is no space left", o.stderr)
		}
		if got := n.recorded(t); got != nil {
			t.Errorf("recorded %v, want nothing", got)
		}
		n.call(t, "CHECK", chained("1.0.0")).ok(t)
	})
}

func TestCheckErrsOnlyWhereTheRecordNamesAnotherNamespace(t *testing.T) {
	elsewhere := nstest.New(t).Path()
	tests := []struct {
		name  string
		spoil func(t *testing.T, n *node)
		code  uint // 0 is success
	}{
		{"another namespace at CNI_NETNS", func(_ *testing.T, n *node) { n.netns = elsewhere }, types.ErrInvalidNetNS},
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
			if diff := compare(before, n.record(t, blue)); diff != "" {
				t.Errorf("the record was changed (-before +after):\n%s", diff)
			}
		})
	}
}
