// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild

import (
	"context"
	"testing"
	"time"
)

// MaxOutput is the limit of stdout and of stderr in bytes.
const MaxOutput = maxOutput

// Run runs the program at path without arguments, environment and input.
func Run(ctx context.Context, path string) (stdout, stderr []byte, err error) {
	return run(ctx, path, request{})
}

// SetRunTimeout changes runTimeout for the test.
func SetRunTimeout(t *testing.T, d time.Duration) {
	t.Helper()
	old := runTimeout
	runTimeout = d
	t.Cleanup(func() { runTimeout = old })
}
