// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"os"
	"testing"
)

// TestMain runs the test binary as another process that holds a lock, if the environment names one.
func TestMain(m *testing.M) {
	if path := os.Getenv(envHoldLock); path != "" {
		os.Exit(holdLock(path))
	}
	os.Exit(m.Run())
}
