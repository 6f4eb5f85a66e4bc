// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// KeepCapabilities drops all capabilities of the calling thread except keep, for good: the thread must exit with its
// goroutine, as the threads of NS.Do do.
func KeepCapabilities(tb testing.TB, keep ...int) {
	tb.Helper()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range keep {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		tb.Errorf("drop capabilities: %v", err)
	}
}
