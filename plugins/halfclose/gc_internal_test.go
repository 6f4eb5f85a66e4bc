// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestGCRemovesWhatIsNoLongerValidInThisNetwork(t *testing.T) {
	net1 := state.Attachment{ContainerID: "c1", IfName: "net1"}
	all := []state.Attachment{blue, net1, other}
	valid := func(as ...state.Attachment) object { return object{"cni.dev/valid-attachments": as} }
	tests := []struct {
		name string
		list object
		want []state.Attachment
	}{
		{"all but the valid one", valid(blue), []state.Attachment{blue, net1}},
		{"nothing when all are valid", valid(all...), all},
		{"nothing for the sake of one it never heard of", valid(blue, other, state.Attachment{ContainerID: "c9", IfName: "eth0"}), all},
		{"all of an empty list", valid([]state.Attachment{}...), []state.Attachment{net1}},
		{"nothing without a list", object{}, all},
		{"nothing of a null list", object{"cni.dev/valid-attachments": null}, all},
		{"nothing of a key that only looks like that of the list", object{"CNI.DEV/valid-attachments": []int{}}, all},
		{"nothing of such a key beside the list", valid(all...).with(object{"cni.dev/Valid-Attachments": []int{}}), all},
		{"nothing of a network whose key only looks like name", valid([]state.Attachment{}...).with(object{"name": "green", "namE": "blue"}), all},
		{"nothing of another network", valid([]state.Attachment{}...).with(object{"name": "green"}), all},
		{"whatever the configuration's mistakes", valid(blue).with(mistakes).with(object{"failurePolicy": "fail"}), []state.Attachment{blue, net1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, newestVersions, func(t *testing.T, version string) {
				n := newNode(t)
				n.put(t, "blue", blue)
				n.put(t, "blue", other)
				n.put(t, "red", net1)
				alien := n.damage(t, state.Attachment{ContainerID: "c3", IfName: "eth0"}, `{"network": "blue"`)
				for range 2 {
					n.call(t, "GC", chained(version).with(object{"prevResult": nil}).with(tt.list)).silent(t)
					if diff := cmp.Diff(tt.want, n.recorded(t)); diff != "" {
						t.Errorf("recorded (-want +got):\n%s", diff)
					}
				}
				if _, err := os.Stat(alien); err != nil {
					t.Errorf("a file that is no record: %v, want that it stays", err)
				}
			})
		})
	}
}

func TestGCRemovesNothingOfAListWithSomethingWrong(t *testing.T) {
	for name, list := range map[string]any{
		"an object": object{}, "a string": "c1", "a number in it": []any{blue, 5}, "a null in it": []any{blue, nil},
		"an entry without ifname": []any{object{"containerID": "c1"}}, "an entry without containerID": []any{object{"ifname": "eth0"}},
		"an ifname that is no string": []any{object{"containerID": "c1", "ifname": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.put(t, "blue", blue)
			n.put(t, "blue", other)
			e := n.call(t, "GC", chained("1.1.0").with(object{"cni.dev/valid-attachments": list})).cniError(t)
			if e.Code != types.ErrInvalidNetworkConfig || !strings.Contains(e.Details, "valid-attachments") {
				t.Errorf("%+v, want code 7 that names the list", e)
			}
			if diff := cmp.Diff([]state.Attachment{blue, other}, n.recorded(t)); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGCBeforeAnyAddSucceeds(t *testing.T) {
	newNode(t).call(t, "GC", chained("1.1.0").with(object{"cni.dev/valid-attachments": []int{}})).silent(t)
}

func TestGCGoesOnPastARecordThatCannotBeRemoved(t *testing.T) {
	n := newNode(t)
	n.put(t, "blue", blue)
	n.put(t, "blue", other)
	inMounts(t, func() error {
		path := n.file(t, blue) // a mount point cannot be unlinked
		return unix.Mount(path, path, "", unix.MS_BIND, "")
	}, func() {
		o := n.call(t, "GC", chained("1.1.0").with(object{"cni.dev/valid-attachments": []int{}}))
		if e := o.cniError(t); e.Code != types.ErrIOFailure || !strings.Contains(e.Details, blue.String()) {
			t.Errorf("%+v, want code 5 that names the record", e)
		}
		if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

func TestGCSaysThatTheStateDirectoryIsUnusable(t *testing.T) {
	n := newNode(t)
	n.unusable(t)
	if e := n.call(t, "GC", chained("1.1.0").with(object{"cni.dev/valid-attachments": []int{}})).cniError(t); e.Code != types.ErrIOFailure {
		t.Errorf("%+v, want code 5", e)
	}
}
