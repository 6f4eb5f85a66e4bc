// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package runtimes tests halfclose with real container runtimes: each runs the same scenarios on its own node, with all
// files in their usual places. "make e2e" builds the dependencies and runs them.
package runtimes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/e2e/runtimes/record"
	"github.com/halfclose/halfclose/test/node"
)

// The environment variables of "make e2e".
const (
	runtimeVar    = "E2E_RUNTIME"    // which of the runtimes runs the scenarios
	binVar        = "E2E_BIN"        // the directory of the programs that were built for the tests
	containerdVar = "E2E_CONTAINERD" // that of containerd 2
	imageVar      = "E2E_IMAGE"      // the archive of the project's own image
	logVar        = "E2E_LOG"        // where logs are kept
)

func TestMain(m *testing.M) {
	suite := node.Suite{Name: "runtimes", Top: "../../..", Furnish: furnish, Cgroups: true}
	os.Exit(suite.Run(func() int {
		code := m.Run()
		if node.OnNode() {
			if err := keepLogs(); err != nil {
				fmt.Fprintln(os.Stderr, "runtimes: keep logs:", err)
			}
		}
		return code
	}))
}

// furnish mounts overlays over /etc, /opt and /usr/local, so that runtimes with their default configuration write to the
// node and not to the host.
func furnish() error {
	for _, dir := range []string{"/etc", "/opt", "/usr/local"} {
		upper, work := filepath.Join("/run/e2e", dir, "upper"), filepath.Join("/run/e2e", dir, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
		if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

// keepLogs copies the logs of the node to the host.
func keepLogs() error {
	var errs []error
	for name, from := range map[string]string{
		"reaper.log": "/run/halfclose/reaper.log", "calls.json": record.Notes, "10-pods.conflist": conflist,
	} {
		b, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(logPath(name), b, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// logPath returns the path of a log of this run on the host.
func logPath(name string) string { return filepath.Join(os.Getenv(logVar), name) }
