// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/halfclose/halfclose/internal/nstest"
)

// readMounts reads the mounts of this mount namespace.
func readMounts(s snapshot) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		s.count(fmt.Sprintf("mount %s of %s", m.Mountpoint, m.FSType))
	}
	return nil
}

// readCgroups reads the cgroups of each hierarchy that is mounted. It skips those of other runs of test suites: each run
// removes its own, or fails.
func readCgroups(s snapshot) error {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		err := walk(m.Mountpoint, func(name string, d fs.DirEntry) error {
			switch {
			case !d.IsDir():
			case strings.HasPrefix(d.Name(), "halfclose-test-") && !strings.HasPrefix(d.Name(), nstest.CgroupPrefix()):
				return fs.SkipDir
			default:
				s["cgroup "+name] = ""
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("list cgroups: %w", err)
		}
	}
	return nil
}

// readFiles reads the names of the files in the places where container runtimes keep theirs by default.
func readFiles(s snapshot) error {
	for _, top := range []string{
		"/etc/cni", "/opt/cni", "/var/lib/cni", "/run/cni", "/run/netns", "/run/halfclose", "/var/lib/halfclose",
		"/run/containerd", "/var/lib/containerd", "/run/runc", "/run/docker", "/run/docker.sock", "/run/docker.pid", "/var/lib/docker", "/etc/docker",
		"/etc/containers", "/run/containers", "/var/lib/containers", "/run/libpod", "/run/crun",
		"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/var/log/containers", "/var/log/pods", "/lib/modules",
	} {
		err := walk(top, func(name string, _ fs.DirEntry) error {
			s["file "+name] = ""
			return nil
		})
		if err != nil {
			return fmt.Errorf("list files: %w", err)
		}
	}
	return nil
}

// readSysctls reads the value of each sysctl that only changes if a process writes it.
func readSysctls(s snapshot) error {
	const top = "/proc/sys"
	err := walk(top, func(name string, d fs.DirEntry) error {
		rel := strings.TrimPrefix(name, top+"/")
		for _, pattern := range volatile() {
			if ok, _ := path.Match(pattern, rel); ok {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil //nolint:nilerr // some are write-only, some are readable by their owner alone
		}
		s["sysctl "+strings.ReplaceAll(rel, "/", ".")] = string(b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list sysctls: %w", err)
	}
	return nil
}

// volatile lists the sysctls, as patterns of path.Match, that change although no process writes them.
func volatile() []string {
	return []string{
		"fs/aio-nr", "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/quota", "fs/binfmt_misc",
		"kernel/random", "kernel/ns_last_pid", "kernel/pty", "kernel/hostname", "kernel/domainname",
		"kernel/sched_domain", "kernel/spl", "kernel/tainted", "kernel/perf_event_max_sample_rate",
		"net/netfilter/nf_conntrack_count", "net/ipv4/tcp_fastopen_key", "net/ipv6/conf/*/stable_secret",
		"net/ipv4/tcp_ehash_entries", "vm/stat_refresh",
	}
}

// neededDirs lists the directories in /run and /var/lib that have the working directory, or a directory that an
// environment variable names.
func neededDirs() ([]string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	paths := []string{wd}
	for _, variable := range os.Environ() {
		_, value, _ := strings.Cut(variable, "=")
		paths = append(paths, value)
	}
	var needed []string
	for _, p := range paths {
		for _, hidden := range []string{"/run/", "/var/lib/"} {
			below, isBelow := strings.CutPrefix(path.Clean(p), hidden)
			if !isBelow {
				continue
			}
			name, _, _ := strings.Cut(below, "/")
			dir := hidden + name
			if info, err := os.Lstat(dir); err == nil && info.IsDir() && !slices.Contains(needed, dir) {
				needed = append(needed, dir)
			}
		}
	}
	return needed, nil
}

// walk calls see for a directory and everything below it, except for files that vanish before they are read.
func walk(top string, see func(name string, d fs.DirEntry) error) error {
	return filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return see(name, d)
	})
}
