// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests halfclose from end to end: the binary as a plugin that libcni calls and as the reaper
// that goes on without it, on a node of the test's own.
package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// conflist is the one that is shipped.
	conflist = top + "/deploy/cni/10-halfclose.conflist"
	// binVar names, in the environment, the directory of the binary under test.
	binVar = "E2E_BIN"
)

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

func TestMain(m *testing.M) {
	var bin string
	code, err := node.Run(node.Program{
		Keep: []string{top},
		Before: func() (err error) {
			bin, err = os.MkdirTemp("", "halfclose-e2e")
			if err != nil {
				return err
			}
			if err := os.Chmod(bin, 0o755); err != nil {
				return err
			}
			return errors.Join(node.Build(top, bin), os.Setenv(binVar, bin))
		},
		Run: m.Run,
	})
	if node.Denied(err) {
		onNode, err = err, nil
		code = m.Run() // every test says that it is skipped, and why
	}
	if bin != "" {
		err = errors.Join(err, os.RemoveAll(bin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// TestSourcesAreNoted lets go test know what the binary under test was made of, so that it runs the tests
// again when that has changed: it notes what files a test looks at.
func TestSourcesAreNoted(t *testing.T) {
	for _, dir := range []string{"pkg", "plugins", "deploy", "tools/cni"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
