// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild

import (
	"testing"
	"time"
)

// MaxOutput is how many bytes are kept of each of a program's outputs.
const MaxOutput = maxOutput

// Run is run.
var Run = run

// SetPatience changes how long a run may take until the test ends.
func SetPatience(t *testing.T, d time.Duration) {
	t.Helper()
	old := patience
	patience = d
	t.Cleanup(func() { patience = old })
}
