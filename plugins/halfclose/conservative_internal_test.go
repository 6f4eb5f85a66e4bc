// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

var net1 = state.Attachment{ContainerID: "c1", IfName: "net1"}

// callFor makes one call for another attachment in the node's namespace.
func (n *node) callFor(t *testing.T, a state.Attachment, verb string, conf object) outcome {
	t.Helper()
	return n.callWith(t, verb, &skel.CmdArgs{ContainerID: a.ContainerID, IfName: a.IfName, Netns: n.netns, StdinData: conf.bytes(t)})
}

// In each case the call cannot record net1, which observes, beside eth0, which destroys.
func TestAnAttachmentThatCannotBeRecordedDropsTheOthersOfItsContainerAndNetns(t *testing.T) {
	observe := chained("1.0.0").with(object{"name": "red", "mode": "observe"})
	tests := []struct {
		name  string
		mount func(*node) func() error // mounts the state directory
		spoil func(*testing.T, *node)
		warns string
		drops bool // the netns is known, and its other records are removed
	}{
		{"on a full disk", func(n *node) func() error { return n.cramped }, func(t *testing.T, n *node) { n.fill(t) }, "no space left", true},
		{"without a namespace at CNI_NETNS", nil, func(_ *testing.T, n *node) { n.netns = "/run/netns/gone" }, "no such file", false},
		{"with the plugin's own namespace at CNI_NETNS", nil, func(_ *testing.T, n *node) { n.netns = "/proc/thread-self/ns/net" }, "of the plugin itself", false},
	}
	for _, tt := range tests {
		for _, verb := range []string{"ADD", "CHECK"} {
			t.Run(verb+" "+tt.name, func(t *testing.T) {
				n := newNode(t)
				test := func() {
					n.call(t, "ADD", chained("1.0.0")).ok(t)
					byHand := state.ManualAttachment("by-hand")
					n.put(t, state.ManualNetwork, byHand)
					elsewhere := *n
					elsewhere.netns = nstest.New(t).Path()
					elsewhere.put(t, "blue", other)
					want := []state.Attachment{byHand, other}
					if tt.drops {
						want = []state.Attachment{other}
					}
					tt.spoil(t, n)
					o := n.callFor(t, net1, verb, observe).ok(t)
					if !strings.Contains(o.stderr, tt.warns) || !strings.Contains(o.stderr, "unregistered all attachments of the container") {
						t.Errorf("stderr %q, want what went wrong and what follows", o.stderr)
					}
					if diff := cmp.Diff(want, n.recorded(t)); diff != "" {
						t.Errorf("recorded (-want +got):\n%s", diff)
					}
				}
				if tt.mount == nil {
					test()
					return
				}
				if err := os.Mkdir(n.store.Dir(), 0o700); err != nil {
					t.Fatal(err)
				}
				inMounts(t, tt.mount(n), test)
			})
		}
	}
}

// Under fail there is no attachment, and the runtime calls DEL.
func TestAnAttachmentThatIsRefusedLeavesTheOthersOfItsContainer(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0")).ok(t)
	was := n.netns
	n.netns = "/run/netns/gone"
	n.callFor(t, net1, "ADD", chained("1.0.0").with(object{"failurePolicy": "fail"})).cniError(t)
	if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	n.netns = was
	n.call(t, "CHECK", chained("1.0.0")).silent(t)
}

func TestDelOfOneAttachmentLeavesTheOther(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0").with(object{"mode": "observe"})).ok(t)
	n.callFor(t, net1, "ADD", chained("1.0.0").with(object{"name": "red"})).ok(t)
	n.callFor(t, net1, "DEL", chained("1.0.0").with(object{"name": "red"})).silent(t)
	if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	if got := joined(n.record(t, blue)).Mode; got != policy.Observe {
		t.Errorf("mode %v, want observe", got)
	}
}

func TestAddInAnotherNetnsReplacesTheRecord(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0")).ok(t)
	old := n.file(t, blue)
	past := time.Now().Add(-time.Minute)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	n.netns = nstest.New(t).Path()
	n.call(t, "ADD", chained("1.0.0").with(object{"mode": "observe"})).ok(t).calm(t)
	if _, err := os.Lstat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lstat of the older file: %v", err)
	}
	if r := n.record(t, blue); r.Netns.Identity != identityOf(t, n.netns) || joined(r).Mode != policy.Observe {
		t.Errorf("record %+v, want one of the other namespace", r)
	}
	n.call(t, "CHECK", chained("1.0.0")).silent(t)
}

// The file of an ADD that was killed is of another netns, and may be of another network.
func TestGCRemovesTheRecordThatIsNotValidAndNoOtherOfItsAttachment(t *testing.T) {
	n := newNode(t)
	n.put(t, "red", blue)
	left := n.file(t, blue)
	text, err := os.ReadFile(left)
	if err != nil {
		t.Fatal(err)
	}
	n.netns = nstest.New(t).Path()
	n.put(t, "blue", blue)
	if err := os.WriteFile(left, text, 0o600); err != nil {
		t.Fatal(err)
	}
	none := object{"cni.dev/valid-attachments": []int{}}
	n.call(t, "GC", chained("1.1.0").with(object{"name": "red"}).with(none)).silent(t)
	l, err := n.store.List(t.Context())
	if err != nil || len(l.Records) != 1 || l.Records[0].Network != "blue" {
		t.Errorf("left are %+v (%v), want the record of blue", l.Records, err)
	}
}
