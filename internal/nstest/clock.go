// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// Clock returns the kernel's clock.
func Clock(tb testing.TB) monotime.Clock {
	tb.Helper()
	clock, err := monotime.System()
	if err != nil {
		tb.Fatal(err)
	}
	return clock
}
