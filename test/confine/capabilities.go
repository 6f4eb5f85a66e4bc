// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/deploy/seccomp"
)

// granted has the capabilities of the containers with a profile: the defaults of the chart.
func granted(profile string) []uintptr {
	if profile == seccomp.Reaper {
		return []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH}
	}
	return nil
}

// dropCapabilities removes all capabilities but those of the profile's container from the bounding set. Another user than
// root has none.
func dropCapabilities(profile string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	keep := granted(profile)
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if slices.Contains(keep, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
