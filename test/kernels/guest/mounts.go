// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const cgroups = "/sys/fs/cgroup"

// mountAll mounts what a node has: cgroups of version 2, and those of version 1 with the controllers that tests use.
func mountAll() error {
	if err := os.Chmod("/", 0o755); err != nil { // of an initramfs it is 1777
		return err
	}
	const noExec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
		optional             bool // not in each kernel
	}{
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755", false},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "ptmxmode=666", false},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "", false},
		{"proc", "/proc", "proc", noExec, "", false},
		{"sysfs", "/sys", "sysfs", noExec, "", false},
		{"securityfs", "/sys/kernel/security", "securityfs", noExec, "", true},
		{"tracefs", "/sys/kernel/tracing", "tracefs", noExec, "", true},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755", false},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", false},
		{"tmpfs", cgroups, "tmpfs", noExec, "mode=755", false},
		{"cgroup2", cgroups + "/unified", "cgroup2", noExec, "", false},
		{"cgroup", cgroups + "/freezer", "cgroup", noExec, "freezer", true},
		{"cgroup", cgroups + "/cpu", "cgroup", noExec, "cpu", true},
	} {
		err := os.MkdirAll(m.target, 0o755)
		if err == nil {
			err = unix.Mount(m.source, m.target, m.kind, m.flags, m.data)
		}
		switch {
		case err == nil:
		case m.optional && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrNotExist)):
			fmt.Fprintf(os.Stderr, "guest: this kernel has no %s (%s): %v\n", m.kind, m.data, err)
		default:
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}
