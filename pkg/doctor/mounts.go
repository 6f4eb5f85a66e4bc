// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// mounts is how this process sees the host's later mounts.
type mounts struct {
	err   error // of reading the mount table
	root  hostfs.Dir
	table []*mountinfo.Info
	dirs  []netnsDir
}

// netnsDir is a directory of named network namespaces.
type netnsDir struct {
	path    string // on the host
	real    string // here; "" if it does not exist
	mountID int
}

func inspectMounts(root string) mounts {
	m := mounts{root: hostfs.Dir(root)}
	m.table, m.err = readMounts()
	for _, dir := range hostfs.NetnsDirs() {
		resolved, err := m.root.Resolve(dir)
		if err != nil {
			resolved = ""
		}
		if !slices.ContainsFunc(m.dirs, func(d netnsDir) bool { return resolved != "" && d.real == resolved }) {
			m.dirs = append(m.dirs, netnsDir{dir, resolved, m.root.MountID(dir)})
		}
	}
	return m
}

func readMounts() ([]*mountinfo.Info, error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return table, nil
}

// receivesMounts reports whether mounts that are added elsewhere appear below this one: it is a peer or a slave
// (mount_namespaces(7), proc_pid_mountinfo(5)).
func receivesMounts(m *mountinfo.Info) bool {
	return slices.ContainsFunc(strings.Fields(m.Optional), func(s string) bool {
		return strings.HasPrefix(s, "shared:") || strings.HasPrefix(s, "master:")
	})
}

// isBelow reports whether path is dir or in it.
func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// reportMounts reports whether the namespaces that a runtime will name later are visible here.
func reportMounts(m mounts, in place) []Finding {
	if m.err != nil {
		return []Finding{{Check: "netns-mounts", Level: Warn, What: m.err.Error(), Do: "mount a proc file system on /proc"}}
	}
	if in == onHost {
		return []Finding{{Check: "netns-mounts", What: "this is the host's mount namespace: every named network namespace is visible"}}
	}
	var all []Finding
	missing := 0
	for _, d := range m.dirs {
		if d.real == "" {
			missing++
			continue
		}
		all = append(all, reportNetnsDir(m, d, in))
	}
	if missing == len(m.dirs) {
		all = append(all, Finding{
			Check: "netns-mounts", Level: Warn, What: fmt.Sprintf("there is no %s %s: the named network namespaces of containers are not visible", hostfs.NetnsDirs()[0], m.here()),
			Do: m.mountIt(hostfs.NetnsDirs()[0]) + "; nothing if every recorded path is of the form /proc/PID/ns/net",
		})
	}
	return all
}

func reportNetnsDir(m mounts, d netnsDir, in place) Finding {
	id := "netns-mounts" + d.path
	i := slices.IndexFunc(m.table, func(p *mountinfo.Info) bool { return p.ID == d.mountID })
	if i < 0 {
		return Finding{ID: id, Check: "netns-mounts", Level: Warn, What: "cannot determine the mount of " + d.real, Do: "mount a proc file system on /proc"}
	}
	f, at := Finding{ID: id, Check: "netns-mounts"}, m.table[i].Mountpoint
	switch {
	case receivesMounts(m.table[i]):
		f.What = fmt.Sprintf("%s receives mounts from the host (%s)", d.real, at)
	case in == elsewhere:
		f.Level = Warn
		f.What = fmt.Sprintf("%s is on a private mount (%s): namespaces named from now on will be plain files here, and their containers' leaks stay", d.real, at)
		f.Do = m.mountIt(d.path)
	default:
		f.Level = Info
		f.What = fmt.Sprintf("%s is on a private mount (%s), which is right only in the host's mount namespace; cannot determine whether this is the host's", d.real, at)
		f.Do = "nothing on the host itself; otherwise " + m.mountIt(d.path)
	}
	return f
}

func (m mounts) here() string {
	if m.root.IsOwn() {
		return "here"
	}
	return "below " + string(m.root)
}

// mountIt returns how to make the host's mounts visible here.
func (m mounts) mountIt(dir string) string {
	if m.root.IsOwn() {
		return fmt.Sprintf("mount the host's directory with propagation: a hostPath volume of %[1]s with mountPropagation: HostToContainer in Kubernetes, -v %[1]s:%[1]s:rslave in docker and podman; in a systemd unit, no MountFlags=private", dir)
	}
	return fmt.Sprintf("mount the host's root with propagation: a hostPath volume of / at %[1]s with mountPropagation: HostToContainer in Kubernetes, -v /:%[1]s:ro,rslave in docker and podman", filepath.Clean(string(m.root)))
}
