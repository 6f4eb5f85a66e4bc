// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package faults tests the reaper, the plugin and the installer while system calls fail, are cut short or never return. Its
// tables of boundaries and faults are the table of docs/faults.md.
package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// binVar is an environment variable with the directory of the programs under test.
	binVar = "FAULTS_BIN"
	// allVar is an environment variable: if it is set, all faults of each boundary are tested instead of the first.
	allVar = "FAULTS_ALL"
)

// parallelTests is the number of tests that run in parallel: they mostly wait for graces to expire.
const parallelTests = 8

func TestMain(m *testing.M) {
	if err := inject.Main(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	os.Exit(node.Suite{Name: "faults", Top: top, BinVar: binVar, Parallel: parallelTests}.Run(m.Run))
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "docs"); err != nil {
		t.Error(err)
	}
}

// halfclose returns the path of the command under test.
func halfclose() string { return filepath.Join(os.Getenv(binVar), "halfclose") }

// pluginDir returns the directory of the plugin under test.
func pluginDir() string { return filepath.Join(os.Getenv(binVar), "cni") }
