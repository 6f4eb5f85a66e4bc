// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is what this process costs.
type Process struct {
	CPU      time.Duration // user and system
	Resident uint64        // bytes of memory
	OpenFDs  int
	Started  time.Time
}

// ReadProcess asks the kernel what this process costs, started as the caller knows it to be. It needs /proc.
func ReadProcess(started time.Time) (Process, error) {
	p := Process{Started: started}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return p, fmt.Errorf("ask for the CPU time used: %w", err)
	}
	p.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return p, fmt.Errorf("read the memory in use: %w", err)
	}
	if p.Resident, err = resident(string(statm)); err != nil {
		return p, fmt.Errorf("read the memory in use: %w", err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return p, fmt.Errorf("count the open files: %w", err)
	}
	p.OpenFDs = len(fds) - 1 // but for the one to read them with
	return p, nil
}

// resident takes the resident set from /proc/PID/statm: the second number, in pages (proc_pid_statm(5)).
func resident(statm string) (uint64, error) {
	fields := strings.Fields(statm)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm has no second field: %q", statm)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}
