// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sasha-s/go-deadlock"

	"github.com/halfclose/halfclose/internal/inject"
)

func TestMain(m *testing.M) {
	// With the race detector go-cni checks for deadlocks, and reports the goroutines of this Go version as one.
	deadlock.Opts.Disable = true
	err := inject.Main()
	if err == nil {
		var had bool
		if had, err = runOrder(); had && err == nil {
			os.Exit(0)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// step is an operation on a file that an installer is about to perform.
type step struct {
	n        int // the first is 0
	op, path string
}

func (s step) String() string { return fmt.Sprintf("step %d: %s %s", s.n, s.op, s.path) }

// changes reports whether a step may change a file. Being killed before any other step has the same effect as before the
// next change.
func (s step) changes() bool {
	return !slices.Contains([]string{"open directory", "list", "load", "read", "lock", "sync"}, s.op)
}

// runSteps installs or uninstalls, and calls at before each step on a file below dir. If at returns false, the installer is
// killed there: its goroutine exits, and only closes its files. It returns the number of steps, and whether the installer
// was not killed. An error of the installer fails the test.
func runSteps(t *testing.T, n node, uninstall bool, dir string, at func(step) bool) (steps int, finished bool) {
	t.Helper()
	killed := false
	n.config.onStep = func(op, path string) {
		if killed {
			runtime.Goexit() // from a deferred function
		}
		if !strings.HasPrefix(path, dir) {
			return
		}
		s := step{steps, op, path}
		steps++
		if !at(s) {
			killed = true
			runtime.Goexit()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.run(t, uninstall); err != nil {
			t.Errorf("the installer fails: %v", err)
		}
	}()
	<-done
	return steps, !killed
}

// run installs or uninstalls.
func (n node) run(t testing.TB, uninstall bool) (err error) {
	t.Helper()
	if uninstall {
		_, err = Uninstall(t.Context(), n.config, KeepPrograms)
	} else {
		_, err = Install(t.Context(), n.config)
	}
	return err
}

// runAgain is run without a disturbance, which must succeed.
func (n node) runAgain(t testing.TB, uninstall bool) {
	t.Helper()
	if err := n.run(t, uninstall); err != nil {
		t.Fatal(err)
	}
}

// dir returns the directory of all files of a node.
func (n node) dir() string { return filepath.Dir(n.config.ConfDir) }
