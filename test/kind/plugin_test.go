// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// everywhere runs a command of kubectl's plugin, which asks all nodes, that must succeed.
func everywhere(t *testing.T, args ...string) string {
	t.Helper()
	return kubectl(t, append([]string{"halfclose"}, args...)...)
}

// names checks that a text has all words, such as nodes or pods.
func names(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not name %s:\n%s", what, word, text)
		}
	}
}

// leaks are pods of plugin, and their nodes: two of them in a namespace of their own.
func leaks() map[string]string {
	return map[string]string{"leak-here": controlPlane, "leak-there": worker, shop + "/leak-here": controlPlane, shop + "/leak-there": worker}
}

// outcomes waits until the history has these outcomes for each of the pods of leaks in a namespace.
func outcomes(t *testing.T, namespace string, want ...string) {
	t.Helper()
	for pod, node := range leaks() {
		if in, _ := split(pod); in == namespace {
			nstest.Eventually(t, slow, "the history of "+pod+" has "+strings.Join(want, ", "), func() bool {
				return slices.Equal(historyOn(t, node, pod), want)
			})
		}
	}
}

func (s *story) plugin(t *testing.T) {
	everywhere(t, "mode", "observe")
	var pods []pod
	for name, node := range leaks() {
		pods = append(pods, pod{name: name, node: node, annotations: grace("2s"), args: []string{"connect", s.server + ":7001", "leak"}})
	}
	startPods(t, pods...)
	outcomes(t, "default", api.WouldDestroy)
	outcomes(t, shop, api.WouldDestroy)
	names(t, "kubectl halfclose status", everywhere(t, "status"), nodes()...)
	for _, args := range [][]string{{"leaks", "--all"}, {"sockets"}, {"history"}} {
		names(t, "kubectl halfclose "+args[0], everywhere(t, append(args, "--output", "json")...), nodes()...)
		names(t, "kubectl halfclose "+args[0], everywhere(t, append(args, "--output", "wide")...),
			"default/leak-here", "default/leak-there", shop+"/leak-here", shop+"/leak-there")
	}
	names(t, "kubectl halfclose explain", everywhere(t, "explain", shop+"/leak-there"), worker, "observe")

	// One namespace stays stopped when all nodes destroy again.
	everywhere(t, "mode", "observe", "--namespace", shop)
	everywhere(t, "mode", "destroy", "--yes")
	outcomes(t, "default", api.WouldDestroy, api.Destroyed)
	outcomes(t, shop, api.WouldDestroy)
	everywhere(t, "mode", "destroy", "--namespace", shop)
	outcomes(t, shop, api.WouldDestroy, api.Destroyed)
	s.twinIsAlone(t)

	// A node that does not answer is named, and the others are shown.
	onNode(t, worker, "systemctl stop kubelet")
	defer onNode(t, worker, "systemctl start kubelet")
	out, err := tryKubectl(t, "halfclose", "status")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("without a node, kubectl halfclose status: %v\n%s", err, out)
	} else {
		names(t, "kubectl halfclose status, without a node,", err.Error(), controlPlane, "no answer from "+worker)
	}
	var remove []string
	for name := range leaks() {
		remove = append(remove, name)
	}
	onNode(t, worker, "systemctl start kubelet")
	deletePods(t, remove...)
}
