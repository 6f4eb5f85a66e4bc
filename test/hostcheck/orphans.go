// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killOrphans waits for the processes that the command has left, which are now children of this process. After the timeout
// it kills the others, and then their children, and returns a line for each.
func killOrphans(timeout time.Duration) (left []string, err error) {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		none, err := reap()
		if none || err != nil {
			return left, err
		}
		if time.Now().Before(deadline) {
			continue
		}
		pids, err := children()
		if err != nil {
			return left, err
		}
		for _, pid := range pids {
			left = append(left, fmt.Sprintf("process left, and killed: %d %s", pid, commandLine(pid)))
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return left, fmt.Errorf("kill process %d: %w", pid, err)
			}
			// Once it has exited, its children become children of this process.
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) && !errors.Is(err, unix.EINTR) {
				return left, fmt.Errorf("wait for process %d: %w", pid, err)
			}
		}
	}
}

// reap reaps the children that have exited, and reports whether there are no others.
func reap() (none bool, err error) {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("wait for orphans: %w", err)
		case pid == 0:
			return false, nil
		}
	}
}

// children returns the PIDs of this process's children, zombies included.
func children() (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has exited
		}
		// pid (comm) state ppid ...: proc_pid_stat(5). comm may hold anything, a parenthesis too.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if len(b) == 0 {
		b, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	}
	return string(bytes.TrimSpace(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}
