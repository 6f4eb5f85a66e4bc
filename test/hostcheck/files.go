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
	"strings"

	"github.com/moby/sys/mountinfo"
)

// lookAtMounts notes the mounts of the namespace that this program is in.
func lookAtMounts(s state) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		s.count(fmt.Sprintf("mount %s of %s", m.Mountpoint, m.FSType))
	}
	return nil
}

// lookAtCgroups notes the cgroups of each hierarchy that is mounted. Those of other tests, which are named as
// test/systemd and test/node name theirs, are not this command's: each run removes its own, or fails.
func lookAtCgroups(s state) error {
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
			case strings.HasPrefix(d.Name(), "halfclose-test-"):
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

// lookAtPaths notes the files in the places where container runtimes keep theirs, whatever else they are told.
func lookAtPaths(s state) error {
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

// lookAtSysctls notes the value of each sysctl but those that change by themselves.
func lookAtSysctls(s state) error {
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
			return nil //nolint:nilerr // some can only be written, some have to be asked for by their owner
		}
		s["sysctl "+strings.ReplaceAll(rel, "/", ".")] = string(b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list sysctls: %w", err)
	}
	return nil
}

// volatile are the sysctls, as patterns of path.Match, that the kernel changes by itself or that show the time.
func volatile() []string {
	return []string{
		"fs/aio-nr", "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/quota", "fs/binfmt_misc",
		"kernel/random", "kernel/ns_last_pid", "kernel/pty", "kernel/hostname", "kernel/domainname",
		"kernel/sched_domain", "kernel/spl", "kernel/tainted", "kernel/perf_event_max_sample_rate",
		"net/netfilter/nf_conntrack_count", "net/ipv4/tcp_fastopen_key", "net/ipv6/conf/*/stable_secret",
		"net/ipv4/tcp_ehash_entries", "vm/stat_refresh",
	}
}

// walk calls see for the file or directory and all that is below it, but for what is gone by the time that it
// is looked at.
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
