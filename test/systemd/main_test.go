// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package systemd tests the shipped unit: with systemd's own tools, with the capabilities that the unit grants, and as a
// service of a real systemd on machines that the tests create.
package systemd_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// unitFile is the unit under test.
	unitFile = top + "/deploy/systemd/halfclose.service"
	// binVar is an environment variable with the directory of the programs under test.
	binVar = "SYSTEMD_TEST_BIN"
	// roleVar is an environment variable with the role of this program, empty for the test.
	roleVar = "_HALFCLOSE_SYSTEMD_ROLE"
)

func TestMain(m *testing.M) {
	if role := roles()[os.Getenv(roleVar)]; role != nil {
		if err := role(); err != nil {
			fmt.Fprintln(os.Stderr, os.Getenv(roleVar)+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(node.Suite{
		Name: "systemd", Top: top, BinVar: binVar, Previous: true, Parallel: 12,
		Before: func() error { return errors.Join(makeCgroups(), makePackagesDir()) },
		After:  func() error { return errors.Join(removeCgroups(), removePackages()) },
	}.Run(m.Run))
}

// roles returns the main functions of all other roles.
func roles() map[string]func() error {
	return map[string]func() error{"machine": startMachine, "container": runContainer, "attempts": makeAttempts}
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "deploy/seccomp", "deploy/systemd", "deploy/packages", "scripts", "tools/manual", "docs", "README.md"); err != nil {
		t.Error(err)
	}
}
