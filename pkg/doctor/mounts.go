// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// mounts is how what is mounted on the host gets to be seen here.
type mounts struct {
	err    error // of reading the mount table
	root   hostfs.Dir
	points []point
	dirs   []netnsDir
}

// point is a mount point of this process, in the order of the mount table.
type point struct {
	id     int
	path   string
	fsType string
	root   string // of the mount within its file system; for a namespace "net:[INODE]"
	// grows says that what is mounted below it elsewhere appears here: it has a master, or peers
	// (mount_namespaces(7)).
	grows bool
}

// netnsDir is a directory in which namespaces have a name.
type netnsDir struct {
	path string // on the host
	real string // here; "" where there is none
	on   int    // the mount's number
}

func inspectMounts(root string) mounts {
	m := mounts{root: hostfs.Dir(root)}
	m.points, m.err = readMounts("/proc/thread-self/mountinfo")
	for _, dir := range hostfs.NetnsDirs() {
		at, err := m.root.Resolve(dir)
		if err != nil {
			at = ""
		}
		if !slices.ContainsFunc(m.dirs, func(d netnsDir) bool { return at != "" && d.real == at }) {
			m.dirs = append(m.dirs, netnsDir{dir, at, m.root.MountID(dir)})
		}
	}
	return m
}

func readMounts(file string) ([]point, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

// parseMounts reads a /proc/PID/mountinfo.
func parseMounts(r io.Reader) ([]point, error) {
	infos, err := mountinfo.GetMountsFromReader(r, nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	points := make([]point, 0, len(infos))
	for _, i := range infos {
		points = append(points, point{id: i.ID, path: i.Mountpoint, fsType: i.FSType, root: i.Root, grows: grows(i.Optional)})
	}
	return points, nil
}

// grows reports whether a mount's optional fields say that it is a peer or a slave (proc_pid_mountinfo(5)).
func grows(optional string) bool {
	return slices.ContainsFunc(strings.Fields(optional), func(s string) bool {
		return strings.HasPrefix(s, "shared:") || strings.HasPrefix(s, "master:")
	})
}

// below reports whether path is dir or in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// judgeMounts says whether the namespaces that a runtime gives a name later will be seen here.
func judgeMounts(m mounts, in place) []Finding {
	if m.err != nil {
		return []Finding{{Check: "netns-mounts", Level: Warn, What: m.err.Error(), Do: "mount a proc file system on /proc"}}
	}
	if in == onHost {
		return []Finding{{Check: "netns-mounts", What: "this is the host's mount namespace: every namespace that has a name here can be seen"}}
	}
	var all []Finding
	missing := 0
	for _, d := range m.dirs {
		if d.real == "" {
			missing++
			continue
		}
		all = append(all, judgeNetnsDir(m, d, in))
	}
	if missing == len(m.dirs) {
		all = append(all, Finding{
			Check: "netns-mounts", Level: Warn, What: fmt.Sprintf("there is no %s %s: the namespaces of containers cannot be seen by their names", hostfs.NetnsDirs()[0], m.here()),
			Do: m.mountIt(hostfs.NetnsDirs()[0]) + "; where every recorded path is like /proc/PID/ns/net, nothing",
		})
	}
	return all
}

func judgeNetnsDir(m mounts, d netnsDir, in place) Finding {
	i := slices.IndexFunc(m.points, func(p point) bool { return p.id == d.on })
	if i < 0 {
		return Finding{
			Check: "netns-mounts", Level: Warn, What: "which mount " + d.real + " is on cannot be told", Do: "mount a proc file system on /proc",
		}
	}
	f, on := Finding{Check: "netns-mounts"}, m.points[i]
	switch {
	case on.grows:
		f.What = fmt.Sprintf("%s is on a mount that what is mounted on the host appears in (%s)", d.real, on.path)
	case in == elsewhere:
		f.Level = Warn
		f.What = fmt.Sprintf("%s is on a private mount (%s): namespaces that get their name from now on will be plain files here, and nothing is done for their containers", d.real, on.path)
		f.Do = m.mountIt(d.path)
	default:
		f.Level = Info
		f.What = fmt.Sprintf("%s is on a private mount (%s), which is right only in the host's mount namespace; whether this is that cannot be told", d.real, on.path)
		f.Do = "on the host itself nothing; else " + m.mountIt(d.path)
	}
	return f
}

func (m mounts) here() string {
	if m.root.IsOwn() {
		return "here"
	}
	return "below " + string(m.root)
}

// mountIt says how to make the host's mounts visible here.
func (m mounts) mountIt(dir string) string {
	if m.root.IsOwn() {
		return fmt.Sprintf("mount the host's directory with propagation: a hostPath volume of %[1]s with mountPropagation: HostToContainer in Kubernetes, -v %[1]s:%[1]s:rslave in docker and podman; in a systemd unit, no MountFlags=private", dir)
	}
	return fmt.Sprintf("mount the host's root with propagation: a hostPath volume of / at %[1]s with mountPropagation: HostToContainer in Kubernetes, -v /:%[1]s:ro,rslave in docker and podman", filepath.Clean(string(m.root)))
}
