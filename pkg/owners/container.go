// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import "strings"

// maxCgroup bounds how much of /proc/PID/cgroup is read: some 15 lines, of which version 1 has most.
const maxCgroup = 16 << 10

// containerID takes the container's ID from the text of /proc/PID/cgroup (cgroups(7)), lines of
// "id:controllers:path". A runtime names the cgroup of a container after it; what is nested in one, such as a
// node that is a container itself, has its container further down. It returns "" where no name is known.
//
// A process that may make cgroups may name them like this too: the answer is for people.
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

// idOf takes the container's ID from the name of a cgroup:
//
//	<id>                        containerd, Docker with the cgroupfs driver
//	cri-containerd-<id>.scope   the same and others with the systemd driver; Podman and CRI-O in any case
//	NAME.slice:cri-containerd:<id>   containerd told to use systemd's names without its driver
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

// isID reports whether s is 64 hexadecimal digits, as every runtime above makes them.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
