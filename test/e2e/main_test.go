// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests halfclose end to end: the plugin, called by libcni, the reaper that it starts, and the commands, on a
// node that the tests create.
package e2e_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// conflist is the shipped conflist.
	conflist = top + "/deploy/cni/10-halfclose.conflist"
	// binVar is an environment variable with the directory of the programs under test.
	binVar = "E2E_BIN"
)

const finderVar = "HALFCLOSE_FINDER"

// parallelTests is the number of tests that run in parallel with each finder: they mostly wait for graces to expire.
const parallelTests = 6

// TestMain runs all tests with each finder in parallel, each on its own node. If the environment names a finder, it runs
// them with that one; the reapers read the same variable.
func TestMain(m *testing.M) {
	one := os.Getenv(finderVar)
	if one == "" {
		code, err := node.RunVariants(finderVar, []string{finder.NameSockDiag, finder.NameBPF})
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
		os.Exit(code)
	}
	os.Exit(node.Suite{Name: "e2e", Top: top, BinVar: binVar, Previous: true, Parallel: parallelTests}.Run(func() int {
		fmt.Println("e2e: --finder", one)
		return m.Run()
	}))
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "deploy", "tools/cni"); err != nil {
		t.Error(err)
	}
}
