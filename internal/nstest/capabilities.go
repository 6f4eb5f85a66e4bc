// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"testing"

	"github.com/moby/sys/capability"
)

// KeepCapabilities drops all capabilities of the calling thread except keep, for good: the thread must exit with its
// goroutine, as the threads of NS.Do do.
func KeepCapabilities(tb testing.TB, keep ...capability.Cap) {
	tb.Helper()
	set, err := capability.NewPid2(0) // empty
	if err == nil {
		set.Set(capability.EFFECTIVE|capability.PERMITTED, keep...)
		err = set.Apply(capability.CAPS)
	}
	if err != nil {
		tb.Errorf("drop capabilities: %v", err)
	}
}
