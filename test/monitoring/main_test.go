// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests the shipped rules and dashboard: with promtool, and with a real Prometheus that scrapes real
// reapers on a node of the test's own.
package monitoring_test

import (
	"os"
	"testing"
	"time"

	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// rules is the directory of the rules for Prometheus.
	rules = top + "/deploy/prometheus"
	// soon bounds a wait for an event that takes seconds on an idle machine.
	soon = 60 * time.Second
	// binVar names, in the environment, the directory of the programs under test.
	binVar = "MONITORING_BIN"
)

func TestMain(m *testing.M) {
	os.Exit(node.Suite{Name: "monitoring", Top: top, BinVar: binVar}.Run(m.Run))
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "deploy", "docs"); err != nil {
		t.Error(err)
	}
}

// read returns a shipped file.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
