// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package detach

import (
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// cgroup is the process's cgroup in one hierarchy: a line of /proc/self/cgroup (cgroups(7)).
type cgroup struct {
	controllers []string // of a version 1 hierarchy; "name=..." if it has none; empty for version 2
	path        string   // in the hierarchy; "/" is its root
}

// name returns the hierarchy's name in errors.
func (c cgroup) name() string {
	if len(c.controllers) == 0 {
		return "cgroup2"
	}
	return strings.Join(c.controllers, ",")
}

// parseCgroups parses lines "id:controllers:path". It skips malformed lines.
func parseCgroups(b []byte) []cgroup {
	var all []cgroup
	for line := range strings.Lines(string(b)) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		cg := cgroup{path: path}
		if controllers != "" {
			cg.controllers = strings.Split(controllers, ",")
		}
		all = append(all, cg)
	}
	return all
}

// isRootMount reports whether the root of the hierarchy is mounted at m. In version 1 the controllers are among the file
// system's options.
func (c cgroup) isRootMount(m *mountinfo.Info) bool {
	if m.Root != "/" {
		return false
	}
	if len(c.controllers) == 0 {
		return m.FSType == "cgroup2"
	}
	options := strings.Split(m.VFSOptions, ",")
	return m.FSType == "cgroup" && !slices.ContainsFunc(c.controllers, func(c string) bool {
		return !slices.Contains(options, c)
	})
}
