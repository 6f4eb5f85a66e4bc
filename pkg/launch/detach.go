// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// umask lets nobody but the owner at what the reaper creates.
const umask = 0o077

// processName is what ps and pgrep show of a reaper that the plugin started. Without it that would be the number of the
// descriptor by which it was executed.
const processName = "halfclose"

// Detach drops what a process started by [Program.Start] still has of the runtime that called the plugin: its
// oom_score_adj, its cgroups in every mounted hierarchy, and its umask; and it takes its own name back. A reaper that
// the plugin started calls it first thing.
//
// What it could not drop is in the error, one line each, for the log: the reaper works all the same, but
// is accounted to, limited and perhaps ended with the runtime. Leaving a cgroup takes write permission on
// cgroup.procs of the root and of the one that is left; lowering oom_score_adj may take CAP_SYS_RESOURCE.
func Detach() error {
	unix.Umask(umask)
	return errors.Join(setName(), resetOOMScore("/proc/self/oom_score_adj"), leaveCgroups())
}

// setName names the main thread, whose name is that of the process (proc_pid_comm(5)).
func setName() error {
	if err := os.WriteFile("/proc/self/comm", []byte(processName), 0); err != nil {
		return fmt.Errorf("set process name: %w", err)
	}
	return nil
}

// resetOOMScore writes 0, the kernel's default, unless it is there already. A runtime protects itself with
// -999, which would make the kernel end pods before it ends a leaking reaper; a pod's shim may have 1000.
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
	mine := parseCgroups(b)
	b, err = os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read own mounts: %w", err)
	}
	mounts := parseMounts(b)
	var errs []error
	for _, cg := range mine {
		if cg.path != "/" {
			errs = append(errs, leaveCgroup(cg, mounts))
		}
	}
	return errors.Join(errs...)
}

// leaveCgroup moves this process to the root of one hierarchy, by the first of its mounts that lets it.
func leaveCgroup(cg cgroup, mounts []mount) error {
	err := errors.New("its root is mounted nowhere")
	for _, m := range mounts {
		if !m.showsRootOf(cg) {
			continue
		}
		err = join(filepath.Join(m.point, "cgroup.procs"))
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("leave cgroup %s of hierarchy %s: %w", cg.path, cg.name(), err)
}

// join writes the process id into a file named cgroup.procs.
func join(procs string) error {
	f, err := os.OpenFile(procs, os.O_WRONLY, 0) // never created: it is the kernel's
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	return errors.Join(err, f.Close())
}
