// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

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
		name    string
		conf    object
		mode    policy.Mode
		grace   time.Duration
		warns   string // besides that it was missing, in the log
		mistake string // in the record
	}{
		{"as ADD would with the annotations at hand", annotated(annotations), policy.Destroy, time.Minute, "", ""},
		{"as ADD would with annotations that say nothing to us", annotated(object{}), policy.Destroy, 5 * time.Minute, "", ""},
		{"as ADD would where no annotations are asked for", object{}, policy.Destroy, 5 * time.Minute, "", ""},
		{"as ADD would where the capability is switched off", object{"capabilities": object{policy.CapabilityPodAnnotations: false}}, policy.Destroy, 5 * time.Minute, "", ""},
		{"as ADD would where annotations change nothing", declared.with(object{"podOverrides": "none"}), policy.Destroy, 5 * time.Minute, "", ""},
		{"as observe without runtimeConfig", declared, policy.Observe, 5 * time.Minute, "did not pass the pod's annotations", ""},
		{"as observe with a runtimeConfig of null", declared.with(object{"runtimeConfig": null}), policy.Observe, 5 * time.Minute, "did not pass the pod's annotations", ""},
		{"as observe with annotations of null", annotated(null), policy.Observe, 5 * time.Minute, "did not pass the pod's annotations", ""},
		{"as observe under relax", declared.with(object{"podOverrides": "relax"}), policy.Observe, 5 * time.Minute, "did not pass the pod's annotations", ""},
		{"as off where the network is", declared.with(object{"mode": "off"}), policy.Off, 5 * time.Minute, "did not pass the pod's annotations", ""},
		{"as observe with a wrong configuration, even under fail", object{"failurePolicy": "fail", "graec": "1m"}, policy.Observe, 5 * time.Minute, "", "$.graec"},
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
				if !strings.Contains(o.stderr, "missing") || !strings.Contains(o.stderr, tt.warns) || len(o.syslog) != 1 {
					t.Errorf("stderr %q, system log %q, want that it was missing, and %q", o.stderr, o.syslog, tt.warns)
				}
				// A warning in the record would count as a mistake as long as the pod lives.
				if got := strings.Join(r.Warnings, "\n"); (got != "") != (tt.mistake != "") || !strings.Contains(got, tt.mistake) || len(r.Warnings) > 1 {
					t.Errorf("the record's warnings are %q, want those about %q", r.Warnings, tt.mistake)
				}
				if n.starts != 1 {
					t.Errorf("started %d reapers, want one", n.starts)
				}
				n.call(t, "CHECK", chained(version)).silent(t)
			})
		})
	}
}

func TestCheckRepairsADamagedRecordToObserve(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half-written": `{"version": 1, "netw`, "alien": "[]"} {
		for mode, want := range map[string]policy.Mode{"destroy": policy.Observe, "off": policy.Off} {
			t.Run(name+", "+mode, func(t *testing.T) {
				n := newNode(t)
				n.damage(t, blue, content)
				o := n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail", "mode": mode})).ok(t)
				if o.stdout != "" || !strings.Contains(o.stderr, "which was damaged") || len(o.syslog) != 1 {
					t.Errorf("%+v, want nothing but a warning", o)
				}
				r := n.record(t, blue)
				if joined(r).Mode != want || r.Netns.Identity != identityOf(t, n.netns) || r.Warnings != nil {
					t.Errorf("record %+v, want mode %v without warnings", r, want)
				}
				n.call(t, "CHECK", chained("1.0.0")).silent(t)
				n.call(t, "DEL", chained("1.0.0")).silent(t)
				if files := n.files(t); len(files) > 0 {
					t.Errorf("DEL left %v", files)
				}
			})
		}
	}
}

// The netns in such a file's name is held at observe until the attachment's DEL.
func TestCheckKeepsADamagedRecordOfAnotherNetns(t *testing.T) {
	n := newNode(t)
	elsewhere := *n
	elsewhere.netns = nstest.New(t).Path()
	damaged := elsewhere.damage(t, blue, "{")
	n.call(t, "CHECK", chained("1.0.0")).ok(t)
	if r := n.record(t, blue); joined(r).Mode != policy.Observe {
		t.Errorf("mode %v, want observe", joined(r).Mode)
	}
	if text, err := os.ReadFile(damaged); err != nil || string(text) != "{" {
		t.Errorf("the damaged file has %q, %v", text, err)
	}
	n.call(t, "DEL", chained("1.0.0")).silent(t)
	if files := n.files(t); len(files) > 0 {
		t.Errorf("DEL left %v", files)
	}
}

func TestCheckKeepsARecordThatMayBeRight(t *testing.T) {
	for name, content := range map[string]string{"newer": `{"version": 99}`} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			path := n.damage(t, blue, content)
			o := n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail"})).ok(t)
			if data, err := os.ReadFile(path); err != nil || string(data) != content {
				t.Errorf("the file has %q now (%v), want it untouched", data, err)
			}
			if o.stdout != "" || !strings.Contains(o.stderr, "kept the attachment's record") || len(o.syslog) != 1 || n.starts != 0 {
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
			if o := n.call(t, "CHECK", chained("1.0.0")).ok(t); !strings.Contains(o.stderr, "kept the attachment's record") || !strings.Contains(o.stderr, "input/output error") || n.starts != 0 {
				t.Errorf("%+v, started %d reapers, want nothing but a warning", o, n.starts)
			}
		})
		if diff := compare(before, n.record(t, blue)); diff != "" {
			t.Errorf("the record was changed (-before +after):\n%s", diff)
		}
	})
}

func TestCheckRecreatesTheRecordOfAnotherBoot(t *testing.T) {
	for mode, want := range map[string]policy.Mode{"destroy": policy.Observe, "observe": policy.Observe, "off": policy.Off} {
		t.Run(mode, func(t *testing.T) {
			n := newNode(t)
			conf := chained("1.0.0").with(object{"mode": mode}).with(annotated(object{}))
			n.call(t, "ADD", conf).ok(t)
			r := n.record(t, blue)
			r.Boot = "00000000-0000-4000-8000-000000000000"
			r.Netns.Inode++ // it means nothing in this boot
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
			o := n.call(t, "CHECK", conf.with(object{"failurePolicy": "fail"})).ok(t)
			if o.stdout != "" || !strings.Contains(o.stderr, "another boot") {
				t.Errorf("stdout %q, stderr %q, want nothing and a warning", o.stdout, o.stderr)
			}
			r = n.record(t, blue)
			if r.Boot != bootID(t) || r.Netns.Identity != identityOf(t, n.netns) || joined(r).Mode != want || r.Warnings != nil {
				t.Errorf("record %+v, want one of this boot in mode %v without warnings", r, want)
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

// After an error of CHECK, CRI-O 1.37 reports the pod without an address.
func TestCheckAddsARecordToOneThatNamesAnotherNetns(t *testing.T) {
	elsewhere := nstest.New(t).Path()
	tests := map[string]func(t *testing.T, n *node){
		"another netns at CNI_NETNS": func(_ *testing.T, n *node) { n.netns = elsewhere },
		"the same inode under another cookie": func(t *testing.T, n *node) {
			r := n.record(t, blue)
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
			r.Netns.Cookie++
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0").with(object{"grace": "7m"})).ok(t)
			spoil(t, n)
			before := n.record(t, blue)
			n.at = n.at.Add(time.Minute)
			o := n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail"})).ok(t)
			if o.stdout != "" || len(o.syslog) != 1 || !strings.Contains(o.stderr, before.Netns.String()) || !strings.Contains(o.stderr, n.netns) {
				t.Errorf("%+v, want nothing but a warning with both network namespaces", o)
			}
			added := n.record(t, blue)
			if added.Netns.Identity != identityOf(t, n.netns) || joined(added).Mode != policy.Observe || added.Warnings != nil {
				t.Errorf("record %+v, want one of %s that observes, without warnings", added, n.netns)
			}
			l, err := n.store.List(t.Context())
			if err != nil || len(l.Records) != 2 || len(l.Problems) > 0 {
				t.Fatalf("listing %+v, %v, want two records", l, err)
			}
			if diff := compare(before, l.Records[0]); diff != "" {
				t.Errorf("the earlier record was changed (-before +after):\n%s", diff)
			}
			n.call(t, "CHECK", chained("1.0.0")).silent(t)
			n.call(t, "DEL", chained("1.0.0")).silent(t)
			if files := n.files(t); len(files) > 0 {
				t.Errorf("DEL left %v", files)
			}
		})
	}
}

func TestCheckSucceedsWith(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, n *node)
	}{
		{"the same namespace by another path", func(t *testing.T, n *node) {
			r := n.record(t, blue)
			r.Netns.Path = "/run/netns/by-another-name"
			if err := n.store.Put(r); err != nil {
				t.Fatal(err)
			}
		}},
		{"nothing at CNI_NETNS", func(t *testing.T, n *node) { n.netns = t.TempDir() + "/gone" }},
		{"no record, and nothing at CNI_NETNS to repair it from", func(t *testing.T, n *node) {
			n.netns = t.TempDir() + "/gone"
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}},
		{"no record, and the plugin's own namespace at CNI_NETNS", func(t *testing.T, n *node) {
			n.netns = "/proc/thread-self/ns/net"
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}},
		{"no record, and an unusable state directory", func(t *testing.T, n *node) {
			if err := os.RemoveAll(n.store.Dir()); err != nil {
				t.Fatal(err)
			}
			n.unusable(t)
		}},
		{"a state directory that all users can write to", func(t *testing.T, n *node) {
			if err := os.Chmod(n.store.Dir(), 0o777); err != nil {
				t.Fatal(err)
			}
		}},
		{"no record, and a reaper that cannot be started", func(t *testing.T, n *node) {
			n.fail = errors.New("fork: out of processes")
			if err := n.store.Delete(blue); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0")).ok(t)
			tt.spoil(t, n)
			n.call(t, "CHECK", chained("1.0.0").with(object{"failurePolicy": "fail"})).ok(t)
		})
	}
}
