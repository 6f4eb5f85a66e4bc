// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestStatusErrsOnlyWhereEveryAddWould(t *testing.T) {
	fresh := func(*testing.T, *node) {}
	unusable := func(t *testing.T, n *node) { n.unusable(t) }
	used := func(t *testing.T, n *node) { n.put(t, "blue", blue) }
	noAttachments := func(t *testing.T, n *node) {
		if err := os.Mkdir(n.store.Dir(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.store.AttachmentsDir(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		dir  func(t *testing.T, n *node)
		conf object
		code uint // 0 is success
	}{
		{"no state directory yet, under fail", fresh, object{"failurePolicy": "fail"}, 0},
		{"a state directory in use, under fail", used, object{"failurePolicy": "fail"}, 0},
		{"a wrong configuration, under fail", used, mistakes.with(object{"failurePolicy": "fail"}), 0},
		{"a wrong configuration", used, mistakes, 0},
		{"an unusable state directory", unusable, object{}, 0},
		{"an unusable state directory, under fail", unusable, object{"failurePolicy": "fail"}, types.ErrPluginNotAvailable},
		{"a file in place of the records' directory, under fail", noAttachments, object{"failurePolicy": "fail"}, types.ErrPluginNotAvailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, newestVersions, func(t *testing.T, version string) {
				n := newNode(t)
				tt.dir(t, n)
				o := n.call(t, "STATUS", chained(version).with(object{"prevResult": nil}).with(tt.conf))
				if tt.code == 0 {
					o.silent(t)
					return
				}
				if e := o.cniError(t); e.Code != tt.code || e.Details == "" {
					t.Errorf("%+v, want code %d and why", e, tt.code)
				}
			})
		})
	}
}

func TestStatusMakesNothing(t *testing.T) {
	n := newNode(t)
	n.call(t, "STATUS", chained("1.1.0").with(object{"failurePolicy": "fail"})).silent(t)
	if _, err := os.Stat(n.store.Dir()); !os.IsNotExist(err) {
		t.Errorf("stat of the state directory: %v, want that there is none", err)
	}
}

func TestStatusSeesThatThereIsNoRoomForARecord(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(n.store.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	inMounts(t, n.cramped, func() {
		conf := chained("1.1.0").with(object{"failurePolicy": "fail"})
		n.call(t, "STATUS", conf).silent(t)
		n.fill(t)
		if e := n.call(t, "STATUS", conf).cniError(t); e.Code != types.ErrPluginNotAvailable || !strings.Contains(e.Details, "no space left") {
			t.Errorf("%+v, want code 50 with the reason", e)
		}
		n.call(t, "ADD", conf).cniError(t) // as STATUS foretold
	})
}

func TestStatusSeesAReadOnlyStateDirectory(t *testing.T) {
	n := newNode(t)
	n.put(t, "blue", blue)
	inMounts(t, n.readOnly, func() {
		e := n.call(t, "STATUS", chained("1.1.0").with(object{"failurePolicy": "fail"})).cniError(t)
		if e.Code != types.ErrPluginNotAvailable || !strings.Contains(e.Details, "read-only file system") {
			t.Errorf("%+v, want code 50 with the reason", e)
		}
		n.call(t, "STATUS", chained("1.1.0")).silent(t)
	})
}
