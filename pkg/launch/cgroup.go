// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"slices"
	"strconv"
	"strings"
)

// cgroup is one line of /proc/self/cgroup (cgroups(7)): the process's place in one hierarchy.
type cgroup struct {
	controllers []string // of a version 1 hierarchy; one without controllers has "name=..."; none in version 2
	path        string   // in the hierarchy, "/" is its root
}

// name names the hierarchy for people.
func (c cgroup) name() string {
	if len(c.controllers) == 0 {
		return "cgroup2"
	}
	return strings.Join(c.controllers, ",")
}

// parseCgroups reads the lines "id:controllers:path"; a line that is none is skipped.
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

// mount is what counts of a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	root    string   // which directory of the file system is mounted
	point   string   // where
	fstype  string   // cgroup or cgroup2; others are left out
	options []string // of the file system; in version 1 its controllers are among them
}

// showsRootOf reports whether the root of cg's hierarchy is what is mounted here.
func (m mount) showsRootOf(cg cgroup) bool {
	if m.root != "/" {
		return false
	}
	if len(cg.controllers) == 0 {
		return m.fstype == "cgroup2"
	}
	return m.fstype == "cgroup" && !slices.ContainsFunc(cg.controllers, func(c string) bool {
		return !slices.Contains(m.options, c)
	})
}

// parseMounts reads the lines of cgroup file systems; a line that is cut short is skipped.
//
//	36 35 98:0 /root /point rw,noatime shared:1 - cgroup cgroup rw,cpu,cpuacct
func parseMounts(b []byte) []mount {
	var all []mount
	for line := range strings.Lines(string(b)) {
		mounted, fs, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if !ok {
			continue
		}
		m, f := strings.Split(mounted, " "), strings.Split(fs, " ")
		if len(m) < 6 || len(f) < 3 || f[0] != "cgroup" && f[0] != "cgroup2" {
			continue
		}
		all = append(all, mount{
			root:    unescape(m[3]),
			point:   unescape(m[4]),
			fstype:  f[0],
			options: strings.Split(f[2], ","),
		})
	}
	return all
}

// unescape undoes how the kernel writes space, tab, newline and backslash in a path: as \ and three octal
// digits.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+4 > len(s) {
			break
		}
		b.WriteString(s[:i])
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			b.WriteByte(byte(n))
			s = s[i+4:]
		} else {
			b.WriteByte('\\')
			s = s[i+1:]
		}
	}
	b.WriteString(s)
	return b.String()
}
