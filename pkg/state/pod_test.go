// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestPodIsReadFromArgs(t *testing.T) {
	web := state.Pod{Namespace: "shop", Name: "web", UID: "u-1"}
	for name, tt := range map[string]struct {
		args string
		want state.Pod
	}{
		"in the order of containerd":            {"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u-1", web},
		"in another order":                      {"K8S_POD_UID=u-1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop", web},
		"with a semicolon at its end":           {"K8S_POD_UID=u-1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;", web},
		"among keys without a value":            {"x;;=;K8S_POD_UID=u-1;K8S_POD_NAME=web;y;K8S_POD_NAMESPACE=shop", web},
		"with an = in a value":                  {"K8S_POD_UID=u=1", state.Pod{UID: "u=1"}},
		"in part":                               {"K8S_POD_NAME=web", state.Pod{Name: "web"}},
		"not at all":                            {"", state.Pod{}},
		"under keys that only look like theirs": {"k8s_pod_name=web;XK8S_POD_NAME=web", state.Pod{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, state.ParsePod(tt.args)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParsePod(f *testing.F) {
	f.Add("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1")
	f.Add("K8S_POD_NAME=" + strings.Repeat("ü", 200))
	f.Fuzz(func(t *testing.T, args string) {
		pod := state.ParsePod(args)
		for _, v := range []string{pod.Namespace, pod.Name, pod.UID} {
			if len(v) > state.MaxPodNameBytes {
				t.Errorf("%d bytes are kept", len(v))
			}
			if utf8.ValidString(args) && !utf8.ValidString(v) {
				t.Errorf("%q is cut within a character", v)
			}
		}
	})
}
