// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command guest is the first process of a machine with an emulated kernel. It mounts the file systems, loads modules, runs
// the steps of the plan, reports them on the second serial port, and powers off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// runner is the argument of the process that runs the steps. The first process reaps orphans, which os/exec does not
// expect beside it.
const runner = "run"

func main() {
	if len(os.Args) > 1 && os.Args[1] == runner {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: it is the first process of an emulated machine: see test/kernels")
		os.Exit(2)
	}
	if err := first(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	// With qemu's -no-reboot the emulator exits. If the system call fails, the kernel panics because this process exits, and
	// the emulator exits too.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Fprintln(os.Stderr, "guest: restart:", err)
	}
}

// first mounts the file systems, starts the runner, and reaps it and all orphans.
func first() error {
	if err := mountAll(); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", runner)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the runner: %w", err)
		case pid == cmd.Process.Pid:
			return nil
		}
	}
}
