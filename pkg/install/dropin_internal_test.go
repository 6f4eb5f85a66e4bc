// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

func TestLibcniAppendsTheDropIn(t *testing.T) {
	for name, tt := range map[string]struct {
		files, want map[string]string
		plugins     []string
		changed     bool
	}{
		"to a list": {
			files:   map[string]string{"10-pods.conflist": bridgeList},
			want:    map[string]string{"10-pods.conflist": bridgeList, "pods": "a directory", "pods/halfclose.conf": oursDropIn},
			plugins: []string{"bridge", "halfclose"}, changed: true,
		},
		"in place of an entry": {
			files:   map[string]string{"10-pods.conflist": bridgeAndOurs},
			want:    map[string]string{"10-pods.conflist": bridgeList, "pods": "a directory", "pods/halfclose.conf": oursDropIn},
			plugins: []string{"bridge", "halfclose"}, changed: true,
		},
		"in place of an older one": {
			files:   map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": `{"type":"halfclose"}`, "pods/a.conf": `{"type":"tuning"}`},
			want:    map[string]string{"10-pods.conflist": bridgeList, "pods": "a directory", "pods/halfclose.conf": oursDropIn, "pods/a.conf": `{"type":"tuning"}`},
			plugins: []string{"bridge", "tuning", "halfclose"}, changed: true,
		},
		"in place of two with other names": {
			files:   map[string]string{"10-pods.conflist": bridgeList, "pods/50-hc.conf": oursDropIn, "pods/60-hc.conf": oursDropIn},
			want:    map[string]string{"10-pods.conflist": bridgeList, "pods": "a directory", "pods/halfclose.conf": oursDropIn},
			plugins: []string{"bridge", "halfclose"}, changed: true,
		},
		"to a list without plugins of its own": {
			files:   map[string]string{"10-pods.conflist": `{"cniVersion":"1.1.0","name":"pods"}`, "pods/a.conf": `{"type":"bridge"}`},
			want:    map[string]string{"10-pods.conflist": `{"cniVersion":"1.1.0","name":"pods"}`, "pods": "a directory", "pods/a.conf": `{"type":"bridge"}`, "pods/halfclose.conf": oursDropIn},
			plugins: []string{"bridge", "halfclose"}, changed: true,
		},
		"where one exists": {
			files:   map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": `{"mode":"observe","type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`},
			want:    map[string]string{"10-pods.conflist": bridgeList, "pods": "a directory", "pods/halfclose.conf": `{"mode":"observe","type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`},
			plugins: []string{"bridge", "halfclose"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			n.config.DropIn = true
			dry := n.config
			dry.DryRun = true
			if plan, err := Install(t.Context(), dry); err != nil || plan.Changed != tt.changed || (plan.Diff != "") != tt.changed {
				t.Errorf("a dry run returns %+v, %v", plan, err)
			}
			if r := n.install(t); r.File != n.path("pods/halfclose.conf") || r.Network != "pods" || r.Changed != tt.changed {
				t.Errorf("got %+v", r)
			}
			n.want(t, tt.want)
			// containerd 2.1 and CRI-O 1.34 have libcni 1.3.0, which loads drop-ins.
			if _, plugins := n.chosen(t); !cmp.Equal(tt.plugins, plugins) {
				t.Errorf("containerd loads %v, want %v", plugins, tt.plugins)
			}
			// Runtimes with an older libcni read only the list.
			list, err := libcni.NetworkConfFromBytes([]byte(n.files(t)["10-pods.conflist"]))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list.Plugins {
				if p.Network.Type == "halfclose" {
					t.Error("the list has an entry too")
				}
			}
			if r := n.install(t); r.Changed {
				t.Errorf("the second run: %+v", r)
			}
			n.uninstall(t)
			for file := range n.files(t) {
				if file == "pods/halfclose.conf" {
					t.Error("it was not removed")
				}
			}
		})
	}
}
