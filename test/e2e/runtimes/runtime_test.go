// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"testing"
)

// cri are the arguments that a runtime of Kubernetes passes in CNI_ARGS.
var cri = []string{"IgnoreUnknown", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_UID"}

// runtime runs pods, and calls plugins for them.
type runtime interface {
	// start starts the processes that pods need, such as a daemon. They are stopped when the test ends.
	start(t *testing.T)
	// run creates a pod, attaches it to the network and starts a peer in it. An error means that the attachment failed;
	// then nothing of the pod remains.
	run(t *testing.T, name string, annotations map[string]string) (*pod, error)
	// remove ends the pod, and removes it.
	remove(t *testing.T, p *pod)
}

// daemon is a runtime with a process that can be restarted under its pods.
type daemon interface {
	crash(t *testing.T)
	restart(t *testing.T)
}

// verbs is a runtime that can call CHECK, GC and STATUS on request.
type verbs interface {
	check(t *testing.T, p *pod) error
	gc(t *testing.T, valid ...*pod) error
	status(t *testing.T) error
}

// loader is a runtime that keeps the network in memory.
type loader interface {
	// loaded waits until the configuration in the runtime's memory includes halfclose, or no longer includes it.
	loaded(t *testing.T, s *site, want bool)
}

// traits are the known properties of a runtime. Each is asserted, and docs/runtimes.md lists them.
type traits struct {
	name    string
	runtime runtime
	// version is the newest version of the CNI spec that the runtime takes in a conflist.
	version string
	// annotations is set if the plugin gets a pod's annotations.
	annotations bool
	args        []string // the keys of CNI_ARGS
	netns       string   // a regular expression that CNI_NETNS of ADD matches
	dels        []del    // the DELs of one pod
	// cachedDEL is set if DEL uses the configuration of ADD, not the current conflist.
	cachedDEL bool
	// owner is set if the owners of a socket are reported with the container's ID.
	owner bool
	// dropIn is set if the runtime loads <network>/*.conf.
	dropIn bool
}

// del is one DEL.
type del struct {
	netns, prevResult bool // whether they are given
}

// known are all runtimes that the scenarios run on.
func known() []traits {
	named := `^/run/netns/[a-z0-9-]+$`
	whole := []del{{netns: true, prevResult: true}}
	return []traits{
		{name: "libcni", runtime: &direct{caller: &libcniCaller{}}, version: "1.1.0", annotations: true, args: cri[:0], netns: named, dels: whole, dropIn: true},
		{name: "cnitool", runtime: &direct{caller: cnitoolCaller{}}, version: "1.1.0", annotations: true, args: cri[:0], netns: named, dels: whole, dropIn: true},
		{name: "ocicni", runtime: &direct{caller: &ocicniCaller{}}, version: "1.1.0", annotations: true, args: cri, netns: named, dels: whole, cachedDEL: true, dropIn: true},
		{
			name: "containerd-1.6", runtime: &containerd{config: "containerd-1.6.toml"}, version: "1.0.0", annotations: true, args: cri, owner: true,
			netns: `^/var/run/netns/cni-[0-9a-f-]+$`, dels: []del{{netns: true, prevResult: true}, {}},
		},
		{
			name: "containerd-2", runtime: &containerd{config: "containerd-2.toml", dirVar: containerdVar}, version: "1.1.0", annotations: true, args: cri, owner: true,
			netns: `^/run/containerd/io\.containerd\.grpc\.v1\.cri/netns/cni-[0-9a-f-]+$`, dels: []del{{netns: true, prevResult: true}, {}}, dropIn: true,
		},
		{
			name: "ctr", runtime: &ctr{}, version: "1.0.0", netns: `^/proc/[0-9]+/ns/net$`, dels: []del{{prevResult: true}}, cachedDEL: true,
		},
		{
			name: "podman", runtime: &podman{}, version: "1.0.0", args: []string{"IgnoreUnknown", "K8S_POD_NAME"}, owner: true,
			netns: `^/run/netns/netns-[0-9a-f-]+$`, dels: whole, cachedDEL: true,
		},
	}
}
