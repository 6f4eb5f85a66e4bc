// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests halfclose from end to end: the binary as a plugin that libcni calls and as the reaper
// that goes on without it, on a node of the test's own.
package e2e_test

import (
	"os"
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
	os.Exit(node.Suite{Name: "e2e", Top: top, BinVar: binVar}.Run(func(err error) int {
		onNode = err
		return m.Run()
	}))
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "plugins", "deploy", "tools/cni"); err != nil {
		t.Error(err)
	}
}
