// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine describes the measured machine, without its name or owner.
type Machine struct {
	Kernel  string `json:"kernel"`
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Buckets int    `json:"ehashBuckets"` // of the machine's hash of connections
	Iproute string `json:"iproute2"`
	Go      string `json:"go"`
	// Load is the load average of the last minute at the start of the run.
	Load string `json:"load"`
}

func readMachine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if name, value, _ := strings.Cut(string(line), ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if n, err := readNumber(ehashEntries); err == nil {
		m.Buckets = max(n, -n) // negative: this namespace, too, uses the machine's
	}
	if out, err := exec.Command("ss", "-V").Output(); err == nil {
		m.Iproute = strings.TrimSpace(strings.TrimPrefix(string(out), "ss utility, "))
	}
	m.Load = readLoad()
	return m
}

// readLoad returns the load average of the last minute.
func readLoad() string {
	b, _ := os.ReadFile("/proc/loadavg") // unknown without it
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

// readMeminfo reads the sizes in KiB from /proc/meminfo.
func readMeminfo() (map[string]int, error) { return readSizes("/proc/meminfo") }
