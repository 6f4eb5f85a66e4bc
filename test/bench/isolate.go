// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideVar tells the process that isolate starts that it is that process.
const insideVar = "HALFCLOSE_BENCH_INSIDE"

// isolated reports whether this process is the one that isolate started: the first of its PID namespace.
func isolated() bool { return os.Getenv(insideVar) != "" && os.Getpid() == 1 }

// isolate runs this program again as the first process of new mount, network and PID namespaces. When it
// ends, or this process does, the kernel ends all that it started, and with them go the namespaces.
func isolate(args []string) int {
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("make namespaces: %w: run as root", err)
	}
	return code(err)
}

// runDir is where a run keeps its files: in memory, and in its own mount namespace only.
const runDir = "/run/bench"

// furnish makes the new namespaces habitable: their own /proc, an empty /run, the loopback interface up.
func furnish() error {
	if err := os.Unsetenv(insideVar); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=0755"}, // as on a node: ADD starts nothing from a directory that others may write to
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := os.Mkdir(runDir, 0o700); err != nil {
		return err
	}
	return loopbackUp()
}

// loopbackUp sets lo up in the calling thread's network namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
