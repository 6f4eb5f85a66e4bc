// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"fmt"
	"strings"
	"testing"
)

const (
	idA = "5f3c9d1e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d"
	idB = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func TestContainerIDIsThatOfTheInnermostContainer(t *testing.T) {
	for name, tc := range map[string]struct{ cgroup, want string }{
		"containerd, systemd driver":  {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f_2.slice/cri-containerd-" + idA + ".scope\n", idA},
		"containerd, cgroupfs driver": {"0::/kubepods/besteffort/pod1f-2/" + idA + "\n", idA},
		"containerd, systemd's names without its driver": {
			"0::/system.slice/containerd.service/kubepods-besteffort-pod1f_2.slice:cri-containerd:" + idA + "\n", idA,
		},
		"containerd, version 1": {
			"12:memory:/kubepods/burstable/pod1f-2/" + idA + "\n11:cpu,cpuacct:/kubepods/burstable/pod1f-2/" + idA + "\n1:name=systemd:/x\n0::/\n", idA,
		},
		"version 1, some hierarchies not used":   {"3:rdma:/\n2:net_cls,net_prio:/\n1:name=systemd:/docker/" + idA + "\n", idA},
		"CRI-O, systemd driver":                  {"0::/kubepods.slice/kubepods-pod1f_2.slice/crio-" + idA + ".scope\n", idA},
		"CRI-O, below what crun adds":            {"0::/kubepods.slice/kubepods-pod1f_2.slice/crio-" + idA + ".scope/container\n", idA},
		"CRI-O, cgroupfs driver":                 {"0::/kubepods/pod1f-2/crio-" + idA + "\n", idA},
		"CRI-O's monitor is in no container":     {"0::/kubepods.slice/crio-conmon-" + idA + ".scope\n", ""},
		"Docker, systemd driver":                 {"0::/system.slice/docker-" + idA + ".scope\n", idA},
		"Docker, cgroupfs driver":                {"0::/docker/" + idA + "\n", idA},
		"systemd in a container":                 {"0::/docker/" + idA + "/system.slice/nginx.service\n", idA},
		"Podman":                                 {"0::/machine.slice/libpod-" + idA + ".scope/container\n", idA},
		"Podman without systemd":                 {"0::/libpod_parent/libpod-" + idA + "\n", idA},
		"Podman's monitor is in no container":    {"0::/machine.slice/libpod-conmon-" + idA + ".scope\n", ""},
		"nerdctl":                                {"0::/system.slice/nerdctl-" + idA + ".scope\n", idA},
		"a node that is a container itself":      {"0::/docker/" + idB + "/kubelet/kubepods/burstable/pod1f-2/" + idA + "\n", idA},
		"the same with systemd":                  {"0::/system.slice/docker-" + idB + ".scope/kubelet.slice/kubelet-kubepods.slice/cri-containerd-" + idA + ".scope\n", idA},
		"seen from another cgroup namespace":     {"0::/../../pod1f-2/cri-containerd-" + idA + ".scope\n", idA},
		"seen from its own cgroup namespace":     {"0::/\n", ""},
		"a cgroup that was removed":              {"0::/docker/" + idA + " (deleted)\n", ""},
		"a service":                              {"0::/system.slice/sshd.service\n", ""},
		"a name that is too short":               {"0::/docker/" + idA[1:] + "\n", ""},
		"a name that is too long":                {"0::/docker/" + idA + "0\n", ""},
		"a name that is not hexadecimal":         {"0::/docker/" + strings.Repeat("g", 64) + "\n", ""},
		"a runtime that is not known":            {"0::/what-" + idA + ".scope\n", ""},
		"no path":                                {"0:" + idA + "\n", ""},
		"no newline at the end":                  {"0::/docker/" + idA, idA},
		"a line that was cut short":              {"0::/docker/" + idA[:60], ""},
		"nothing":                                {"", ""},
		"lines that are none":                    {"\n\n::\n:\n", ""},
		"a controller that is named like an id":  {"1:" + idA + ":/\n", ""},
		"what only looks like a line of version": {idA, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := containerID(tc.cgroup); got != tc.want {
				t.Errorf("%q: got %q, want %q", tc.cgroup, got, tc.want)
			}
		})
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("0::/kubepods.slice/cri-containerd-" + idA + ".scope\n")
	f.Add("12:memory:/docker/" + idB + "/kubepods/" + idA + "\n0::/\n")
	f.Add("0::/x.slice:cri-containerd:" + idA)
	f.Fuzz(func(t *testing.T, cgroup string) {
		id := containerID(cgroup)
		if id != "" && (!isID(id) || !strings.Contains(cgroup, id)) {
			t.Errorf("%q does not contain the ID %q", cgroup, id)
		}
		// A container in an earlier line takes precedence.
		if got := containerID("0::/docker/" + idA + "\n" + cgroup); got != idA {
			t.Errorf("after a line in front of %q: %q", cgroup, got)
		}
	})
}

func FuzzLinkNumber(f *testing.F) {
	f.Add("socket:[4294967296]", uint32(1))
	f.Add("net:[4026531840]", uint32(4294967295))
	f.Add("socket:[12", uint32(0))
	f.Fuzz(func(t *testing.T, target string, n uint32) {
		if got, ok := linkNumber(target, "socket:["); ok {
			if digits := strings.Trim(target, "socket:[]"); strings.TrimLeft(digits, "0") != strings.TrimLeft(fmt.Sprint(got), "0") {
				t.Errorf("%q is read as %d", target, got)
			}
		}
		if got, ok := linkNumber(fmt.Sprintf("socket:[%d]", n), "socket:["); !ok || got != n {
			t.Errorf("%d is read as %d, %v", n, got, ok)
		}
	})
}
