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

// The environment variables with the directory of the last single-program release, or with the reason why there is none.
const (
	singleVar    = "_HALFCLOSE_SINGLE"
	singleWhyVar = "_HALFCLOSE_SINGLE_WHY"
)

// findSingle finds the last single-program release, and builds it the first time. If that fails, for example because the
// clone has no history, it keeps the reason for [NeedSingle].
func findSingle(top string) error {
	cmd := exec.Command(filepath.Join(top, "scripts/artefact.sh"), "single")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return os.Setenv(singleWhyVar, fmt.Sprintf("scripts/artefact.sh single: %v: %s", err, lastLine(stderr.Bytes())))
	}
	return errors.Join(os.Unsetenv(singleWhyVar), os.Setenv(singleVar, string(bytes.TrimSpace(out))))
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// NeedSingle returns the directory of the last single-program release: bin/halfclose, and the unit in systemd. If it could
// not be built, the test is skipped with the reason; if CI is set, the test fails.
func NeedSingle(t *testing.T) string {
	t.Helper()
	if why := os.Getenv(singleWhyVar); why != "" {
		nstest.Skip(t, why)
	}
	dir := os.Getenv(singleVar)
	if dir == "" {
		t.Fatal("Suite.Single is not set")
	}
	return dir
}
