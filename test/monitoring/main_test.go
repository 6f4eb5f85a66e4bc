// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests what is shipped for Prometheus and Grafana: the rules by promtool, and rules and
// dashboard on the figures of real reapers at work, which a real Prometheus scrapes, on a node of the test's
// own.
package monitoring_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// rules is the directory of what is shipped for Prometheus.
	rules = top + "/deploy/prometheus"
	// binVar names, in the environment, the directory of the binary under test.
	binVar = "MONITORING_BIN"
)

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

func TestMain(m *testing.M) {
	var bin string
	code, err := node.Run(node.Program{
		Keep: []string{top},
		Before: func() (err error) {
			bin, err = os.MkdirTemp("", "halfclose-monitoring")
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
		code = m.Run() // the tests that need a node say that they are skipped, and why
	}
	if bin != "" {
		err = errors.Join(err, os.RemoveAll(bin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		code = 1
	}
	os.Exit(code)
}

// TestSourcesAreNoted lets go test know what the binary under test was made of, so that it runs the tests
// again when that has changed: it notes what files a test looks at.
func TestSourcesAreNoted(t *testing.T) {
	for _, dir := range []string{"pkg", "plugins", "deploy", "docs"} {
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

// needNode skips the test where it has no node of its own, or fails it where CI is set.
func needNode(t *testing.T) {
	t.Helper()
	if onNode != nil {
		nstest.NeedPrivilege(t, "make a node to test on", onNode)
	}
}

// need returns the path of a program of Debian's package prometheus. Without it the test is skipped, or fails
// where CI is set.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		msg := fmt.Sprintf("%v: install it, as by scripts/deps.sh prometheus", err)
		if os.Getenv("CI") != "" {
			t.Fatal(msg)
		}
		t.Skip(msg)
	}
	return path
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
