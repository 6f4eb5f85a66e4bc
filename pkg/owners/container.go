// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import "strings"

// maxCgroup is how many bytes of a cgroup file or of /proc/PID/cgroup are read; the latter has up to about 15 lines.
const maxCgroup = 16 << 10

// containerID returns the ID of the innermost container in the text of /proc/PID/cgroup (cgroups(7)), or "". Lines have the
// form "id:controllers:path". Runtimes name the cgroup of a container after its ID. If a node is a container itself, its
// containers have cgroups below the node's.
//
// A process that may create cgroups can choose such a name too, so use the result for display only.
func containerID(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, path, _ := strings.Cut(rest, ":")
		for path != "" {
			cut := strings.LastIndexByte(path, '/')
			if id := idOf(path[cut+1:]); id != "" {
				return id
			}
			path = path[:max(cut, 0)]
		}
	}
	return ""
}

// idOf returns the container ID in the name of a cgroup, or "":
//
//	<id>                        containerd, Docker with the cgroupfs driver
//	cri-containerd-<id>.scope   the same and others with the systemd driver; Podman and CRI-O with any driver
//	NAME.slice:cri-containerd:<id>   containerd with cgroup paths for systemd, but without the systemd driver
func idOf(name string) string {
	if cut := strings.LastIndex(name, ":cri-containerd:"); cut >= 0 {
		name = name[cut+len(":cri-containerd:"):]
	} else if kind, id, ok := cutLast(strings.TrimSuffix(name, ".scope"), "-"); ok {
		switch kind {
		case "cri-containerd", "crio", "docker", "libpod", "nerdctl":
			name = id
		}
	}
	if !isID(name) {
		return ""
	}
	return name
}

func cutLast(s, sep string) (before, after string, found bool) {
	if cut := strings.LastIndex(s, sep); cut >= 0 {
		return s[:cut], s[cut+len(sep):], true
	}
	return s, "", false
}

// isID reports whether s has 64 hexadecimal digits, as the IDs of all these runtimes.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
