// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests halfclose from end to end: the plugin that libcni calls, the reaper that goes on without it, and
// the commands, on a node of the test's own.
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
	// conflist is the one that is shipped.
	conflist = top + "/deploy/cni/10-halfclose.conflist"
	// binVar names, in the environment, the directory of the programs under test.
	binVar = "E2E_BIN"
)

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

// finders are what all tests are run against, one after the other, each on a node of its own. One alone is named in
// the environment, as every reaper takes it from there.
var finders = []string{finder.NameSockDiag, finder.NameBPF}

const finderVar = "HALFCLOSE_FINDER"

func TestMain(m *testing.M) {
	if one := os.Getenv(finderVar); one != "" {
		finders = []string{one}
	}
	code := 0
	for _, finder := range finders {
		if err := os.Setenv(finderVar, finder); err != nil {
			panic(err)
		}
		fmt.Println("e2e: --finder", finder)
		code = max(code, node.Suite{Name: "e2e", Top: top, BinVar: binVar, Single: true}.Run(func(err error) int {
			onNode = err
			return m.Run()
		}))
	}
	os.Exit(code)
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "deploy", "tools/cni"); err != nil {
		t.Error(err)
	}
}
