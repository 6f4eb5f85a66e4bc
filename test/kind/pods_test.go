// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The images of the pods: the program in peer/, and a Debian with common programs.
const (
	peerImage     = "halfclose.test/peer:e2e"
	programsImage = "halfclose.test/programs:e2e"
)

type object = map[string]any

// pod is a pod of one container. Its name has the form NAMESPACE/NAME outside of the default namespace.
type pod struct {
	name, node  string
	annotations map[string]string
	args        []string // of the peer
	shell       string   // a script for the image with common programs, instead of args
	sysctls     []object
}

// split returns the namespace and the name of a pod.
func split(pod string) (namespace, name string) {
	if namespace, name, ok := strings.Cut(pod, "/"); ok {
		return namespace, name
	}
	return "default", pod
}

// byNamespace returns the names of pods for kubectl, by their namespace.
func byNamespace(pods []string) map[string][]string {
	all := make(map[string][]string)
	for _, pod := range pods {
		namespace, name := split(pod)
		all[namespace] = append(all[namespace], "pod/"+name)
	}
	return all
}

// spec returns the pod's specification. It names the node, because the scheduler would not use the control plane.
func (p pod) spec() object {
	container := object{"name": "main", "image": peerImage, "imagePullPolicy": "Never", "args": p.args}
	if p.shell != "" {
		container["image"], container["command"] = programsImage, []string{"sh", "-euc", p.shell}
	}
	return object{
		"nodeName":                      p.node,
		"terminationGracePeriodSeconds": 1,
		"automountServiceAccountToken":  false,
		"enableServiceLinks":            false,
		"containers":                    []object{container},
		"securityContext":               object{"sysctls": p.sysctls},
	}
}

// startPods starts pods, waits until they run, and returns their addresses in the same order.
func startPods(t *testing.T, pods ...pod) (addresses []string) {
	t.Helper()
	var list []object
	var names []string
	for _, p := range pods {
		namespace, name := split(p.name)
		list = append(list, object{
			"apiVersion": "v1", "kind": "Pod", "spec": p.spec(),
			"metadata": object{"namespace": namespace, "name": name, "annotations": p.annotations},
		})
		names = append(names, p.name)
	}
	manifest, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": list})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, string(manifest))
	for namespace, pods := range byNamespace(names) {
		kubectl(t, append([]string{"wait", "--namespace", namespace, "--for=condition=Ready", "--timeout", slow.String()}, pods...)...)
	}
	for _, name := range names {
		namespace, name := split(name)
		addresses = append(addresses, kubectl(t, "get", "pod", "--namespace", namespace, name, "-o", "jsonpath={.status.podIP}"))
	}
	return addresses
}

// deletePods deletes pods, and waits until they are gone.
func deletePods(t *testing.T, names ...string) {
	t.Helper()
	for namespace, pods := range byNamespace(names) {
		kubectl(t, append([]string{"delete", "--namespace", namespace, "--ignore-not-found", "--timeout", slow.String()}, pods...)...)
	}
}

// podLog returns the output of a pod so far.
func podLog(t *testing.T, pod string) string {
	t.Helper()
	namespace, name := split(pod)
	return kubectl(t, "logs", "--namespace", namespace, "pod/"+name)
}

// awaitLog waits until the output of a pod has a text.
func awaitLog(t *testing.T, pod, what string) {
	t.Helper()
	nstest.Eventually(t, slow, "the output of pod "+pod+" has "+what, func() bool {
		return strings.Contains(podLog(t, pod), what)
	})
}
