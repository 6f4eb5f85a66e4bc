// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild

import (
	"context"
	"testing"
	"time"
)

// MaxOutput is how many bytes are kept of each of a program's outputs.
const MaxOutput = maxOutput

// Run runs the program at path without arguments, environment and input.
func Run(ctx context.Context, path string) (stdout, stderr []byte, err error) {
	return run(ctx, path, request{})
}

// SetPatience changes how long a run may take until the test ends.
func SetPatience(t *testing.T, d time.Duration) {
	t.Helper()
	old := patience
	patience = d
	t.Cleanup(func() { patience = old })
}
