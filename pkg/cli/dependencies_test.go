// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestTheCommandLineLinksNeitherDaemonNorReaper checks that commands use the reaper's HTTP API only. cmd/halfclose links
// both into one program.
func TestTheCommandLineLinksNeitherDaemonNorReaper(t *testing.T) {
	const module = "github.com/halfclose/halfclose/"
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"pkg/admin") {
		t.Fatalf("the list lacks pkg/admin: %v", deps)
	}
	for _, banned := range []string{"pkg/daemon", "pkg/reaper", "pkg/metrics"} {
		if slices.Contains(deps, module+banned) {
			t.Errorf("pkg/cli links %s", banned)
		}
	}
}
