// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The environment variables with the directory of the release before, or with the reason why there is none.
const (
	previousVar    = "_HALFCLOSE_PREVIOUS"
	previousWhyVar = "_HALFCLOSE_PREVIOUS_WHY"
)

// findPrevious finds the release before, and builds it the first time. If that fails, for example because the
// clone has no history, it keeps the reason for [NeedPrevious].
func findPrevious(top string) error {
	cmd := exec.Command(filepath.Join(top, "scripts/artefact.sh"), "previous")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return os.Setenv(previousWhyVar, fmt.Sprintf("scripts/artefact.sh previous: %v: %s", err, lastLine(stderr.Bytes())))
	}
	return errors.Join(os.Unsetenv(previousWhyVar), os.Setenv(previousVar, string(bytes.TrimSpace(out))))
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// NeedPrevious returns the directory of the release before: bin/halfclose, bin/cni/halfclose, and the unit in systemd. If it could
// not be built, the test is skipped with the reason; if CI is set, the test fails.
func NeedPrevious(t *testing.T) string {
	t.Helper()
	if why := os.Getenv(previousWhyVar); why != "" {
		nstest.Skip(t, why)
	}
	dir := os.Getenv(previousVar)
	if dir == "" {
		t.Fatal("Suite.Previous is not set")
	}
	return dir
}
