// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package systemd tests the shipped unit: with systemd's own tools, with the capabilities that it leaves the
// reaper, and as a service of a real systemd, on machines of the test's own.
package systemd_test

import (
	"errors"
	"flag"
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
	// unitFile is the unit under test.
	unitFile = top + "/deploy/systemd/halfclose.service"
	// binVar names, in the environment, the directory of the binary under test.
	binVar = "SYSTEMD_TEST_BIN"
	// roleVar says, in the environment, what this program is when it is not the test.
	roleVar = "_HALFCLOSE_SYSTEMD_ROLE"
)

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

func TestMain(m *testing.M) {
	if role := roles()[os.Getenv(roleVar)]; role != nil {
		if err := role(); err != nil {
			fmt.Fprintln(os.Stderr, os.Getenv(roleVar)+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var bin string
	code, err := node.Run(node.Program{
		Keep: []string{top},
		Before: func() (err error) {
			bin, err = os.MkdirTemp("", "halfclose-systemd")
			if err != nil {
				return err
			}
			return errors.Join(os.Chmod(bin, 0o755), node.Build(top, bin), os.Setenv(binVar, bin), makeCgroups())
		},
		Run: func() int {
			// They wait more than they work.
			if err := flag.Set("test.parallel", "8"); err != nil {
				fmt.Fprintln(os.Stderr, "systemd:", err)
				return 1
			}
			return m.Run()
		},
	})
	if node.Denied(err) {
		onNode, err = err, nil
		code = m.Run() // every test says that it is skipped, and why
	}
	if bin != "" {
		err = errors.Join(err, removeCgroups(), os.RemoveAll(bin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "systemd:", err)
		code = 1
	}
	os.Exit(code)
}

// roles are what this program is besides the test.
func roles() map[string]func() error {
	return map[string]func() error{"machine": startMachine, "container": runContainer, "attempts": makeAttempts}
}

// TestSourcesAreNoted lets go test know what is under test, so that it runs the tests again when that has
// changed: it notes what files a test looks at.
func TestSourcesAreNoted(t *testing.T) {
	for _, dir := range []string{"pkg", "plugins", "deploy/systemd"} {
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
