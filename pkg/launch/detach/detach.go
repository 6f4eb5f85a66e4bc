// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package detach separates a reaper that the plugin started from the container runtime that called the plugin. It is
// separate from package launch, which the plugin links.
package detach

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// umask allows only the owner to access the files that the reaper creates.
const umask = 0o077

// processName is what ps and pgrep show. By default it would be the number of the file descriptor by which the program was
// executed.
const processName = "halfclose"

// FromRuntime resets the process's name and umask, its oom_score_adj, and its cgroup in every mounted hierarchy. A reaper
// started by the plugin calls it first.
//
// The error has one line for each failure, for the log. After a failure the reaper works, but its resources are accounted
// to the runtime and limited with it, and it may be killed with it. Leaving a cgroup requires write access to cgroup.procs
// of the root and of the current cgroup; lowering oom_score_adj may require CAP_SYS_RESOURCE.
func FromRuntime() error {
	unix.Umask(umask)
	return errors.Join(setName(), resetOOMScore("/proc/self/oom_score_adj"), leaveCgroups())
}

// setName sets the name of the main thread, which is that of the process (proc_pid_comm(5)).
func setName() error {
	if err := os.WriteFile("/proc/self/comm", []byte(processName), 0); err != nil {
		return fmt.Errorf("set process name: %w", err)
	}
	return nil
}

// resetOOMScore writes 0, the kernel's default, unless that is the current value. A runtime protects itself with -999, with
// which the kernel would kill pods before a leaking reaper; a pod's shim may have 1000.
func resetOOMScore(path string) error {
	current, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read oom_score_adj: %w", err)
	}
	if string(bytes.TrimSpace(current)) == "0" {
		return nil
	}
	if err := os.WriteFile(path, []byte("0"), 0); err != nil {
		return fmt.Errorf("reset oom_score_adj %s: %w", bytes.TrimSpace(current), err)
	}
	return nil
}

// leaveCgroups moves this process to the root of every hierarchy, versions 1 and 2.
func leaveCgroups() error {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("read own cgroups: %w", err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("read own mounts: %w", err)
	}
	var errs []error
	for _, cg := range parseCgroups(b) {
		if cg.path != "/" {
			errs = append(errs, leaveCgroup(cg, mounts))
		}
	}
	return errors.Join(errs...)
}

// leaveCgroup moves this process to the root of one hierarchy, through the first of its mounts that allows it.
func leaveCgroup(cg cgroup, mounts []*mountinfo.Info) error {
	err := errors.New("its root is not mounted")
	for _, m := range mounts {
		if !cg.isRootMount(m) {
			continue
		}
		err = join(filepath.Join(m.Mountpoint, "cgroup.procs"))
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("leave cgroup %s of hierarchy %s: %w", cg.path, cg.name(), err)
}

// join writes this process's ID to a cgroup.procs.
func join(procs string) error {
	f, err := os.OpenFile(procs, os.O_WRONLY, 0) // not created: it is a file of the kernel
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	return errors.Join(err, f.Close())
}
