// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// cgroupVar is an environment variable that passes the name of the node's cgroups to its first process.
const cgroupVar = "_HALFCLOSE_NODE_CGROUP"

// cgroupTop is the mount point of cgroup v2, or the directory with the mount points of v1.
const cgroupTop = "/sys/fs/cgroup"

// hierarchies returns the cgroup mounts, parents first.
func hierarchies() ([]*mountinfo.Info, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(a.Mountpoint, b.Mountpoint) })
	return mounts, nil
}

// makeCgroups creates the node's cgroup in each hierarchy, on the host.
func makeCgroups(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		dir := filepath.Join(h.Mountpoint, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := inheritCpuset(h.Mountpoint, dir); err != nil {
			return err
		}
	}
	return nil
}

// inheritCpuset copies a v1 parent's CPUs and memory nodes: a new cpuset is empty.
func inheritCpuset(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another controller, or the root of v2
		}
		if err == nil && !isVersion2(parent) {
			err = os.WriteFile(filepath.Join(dir, file), b, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isVersion2(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// enterCgroups moves this process into the node's cgroups, and makes them the cgroup roots of this process and its
// children. It must be called on the thread that starts the children.
func enterCgroups(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := os.WriteFile(filepath.Join(h.Mountpoint, name, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("enter the node's cgroup: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("create a cgroup namespace: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if isVersion2(cgroupTop) {
		if err := unix.Unmount(cgroupTop, unix.MNT_DETACH); err != nil { // the kernel refuses a second mount of it there
			return fmt.Errorf("unmount %s: %w", cgroupTop, err)
		}
		if err := unix.Mount("cgroup2", cgroupTop, "cgroup2", flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", cgroupTop, err)
		}
		return delegate(cgroupTop)
	}
	if err := unix.Mount("tmpfs", cgroupTop, "tmpfs", flags, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", cgroupTop, err)
	}
	for _, h := range all {
		if !strings.HasPrefix(h.Mountpoint, cgroupTop+"/") {
			continue
		}
		err := os.Mkdir(h.Mountpoint, 0o755)
		if err == nil {
			err = unix.Mount(h.FSType, h.Mountpoint, h.FSType, flags, controllers(h))
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", h.Mountpoint, err)
		}
	}
	return nil
}

// controllers returns the mount options that select a v1 hierarchy.
func controllers(h *mountinfo.Info) string {
	var options []string
	for option := range strings.SplitSeq(h.VFSOptions, ",") {
		switch {
		case h.FSType != "cgroup" || option == "rw" || option == "ro" || option == "xattr" || strings.HasPrefix(option, "release_agent="):
		case strings.HasPrefix(option, "name="):
			options = append(options, "none", option)
		default:
			options = append(options, option)
		}
	}
	return strings.Join(options, ",")
}

// delegate enables all controllers of a v2 cgroup for its children, which requires that the cgroup itself has no process.
func delegate(top string) error {
	leaf := filepath.Join(top, "init")
	err := os.Mkdir(leaf, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0)
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(top, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(b)) {
		if err := os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("enable controller %s for children: %w", controller, err)
		}
	}
	return nil
}

// thawCgroups thaws the node's cgroups of version 1: a killed process that is frozen in one does not exit.
func thawCgroups(name string) {
	all, _ := hierarchies() // of the node's own ones, so they were found before
	for _, h := range all {
		_ = filepath.WalkDir(filepath.Join(h.Mountpoint, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "freezer.state" {
				_ = os.WriteFile(path, []byte("THAWED"), 0)
			}
			return nil
		})
	}
}

// removeCgroups removes the node's cgroups when all processes of the node are gone.
func removeCgroups(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range all {
		errs = append(errs, RemoveCgroup(filepath.Join(h.Mountpoint, name)))
	}
	return errors.Join(errs...)
}

// RemoveCgroup removes a cgroup and its descendants. Their processes have been killed, but may still be exiting.
func RemoveCgroup(top string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var all []string
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		if errors.Is(err, fs.ErrNotExist) && len(all) == 0 {
			return nil
		}
		for i := len(all) - 1; i >= 0 && err == nil; i-- { // children first
			err = unix.Rmdir(all[i])
		}
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}
