// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package programs tests halfclose with programs that people use: pools of HTTP clients, programs that connect again,
// readers that stand still and programs that half-close and wait. Each scenario is played without halfclose and with
// it, once per finder, and the test compares what the program sees.
//
// "make e2e-programs" installs the programs and runs the tests.
package programs_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// binVar names, in the environment, the directory of the programs under test.
	binVar = "E2E_BIN"
	// madeVar names, in the environment, the directory of the output of scripts/e2e-programs.sh.
	madeVar = "E2E_PROGRAMS"
	// quickVar, if set in the environment, selects only the first scenarios of each family.
	quickVar = "QUICK"
	// finderVar names, in the environment, the one finder to test with.
	finderVar = "HALFCLOSE_FINDER"
	// roleVar names, in the environment, the program that the test binary runs as.
	roleVar = "E2E_PROGRAMS_ROLE"
)

// reapers are one per finder, each with a state directory of its own.
var reapers []*reaper // set once, before the tests run

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(playRole(role, os.Args[1:]))
	}
	if os.Getenv(madeVar) == "" {
		os.Exit(m.Run()) // each test skips with the reason
	}
	suite := node.Suite{Name: "programs", Top: top, BinVar: binVar}
	os.Exit(suite.Run(func() int {
		if !node.OnNode() {
			return m.Run()
		}
		code, err := runWithReapers(m)
		if err != nil {
			fmt.Fprintln(os.Stderr, "programs:", err)
			code = 1
		}
		return code
	}))
}

// runWithReapers runs the tests while the reapers run.
func runWithReapers(m *testing.M) (code int, err error) {
	finders := []string{finder.NameSockDiag, finder.NameBPF}
	if one := os.Getenv(finderVar); one != "" {
		finders = []string{one}
	}
	defer func() {
		for _, r := range reapers {
			err = errors.Join(err, r.stop())
		}
	}()
	for _, name := range finders {
		r, err := startReaper(name)
		if err != nil {
			return 1, err
		}
		reapers = append(reapers, r)
	}
	return m.Run(), nil
}

// needNode skips the test if there is no node for it.
func needNode(t *testing.T) {
	t.Helper()
	if os.Getenv(madeVar) == "" {
		t.Skip("the tests need what scripts/e2e-programs.sh installs: run make e2e-programs")
	}
	node.Need(t)
}
