// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// Suite is a package's tests that run on a node.
type Suite struct {
	Name string // of the package, for error messages
	Top  string // the repository, which the node keeps
	// BinVar, unless empty, names the environment variable with the directory of the programs under test: the command, and
	// in cni the plugins.
	BinVar string
	// Previous is set if tests upgrade from the release before, see [NeedPrevious].
	Previous bool
	// Parallel, unless 0, is the number of tests that run in parallel unless -parallel is set.
	Parallel int
	// Before and After run on the host, in addition to Program's. Either may be nil.
	Before, After func() error
	Furnish       func() error // see Program
	Cgroups       bool         // see Program
}

// denied is the reason why the tests of this process do not run on a node, nil if they do.
var denied error // set once, before the tests run

// Need skips the test if it does not run on a node, with the reason. If CI is set, the test fails.
func Need(tb testing.TB) {
	tb.Helper()
	if denied != nil {
		nstest.NeedPrivilege(tb, "create a node to test on", denied)
	}
}

// OnNode reports whether the tests of this process run on a node.
func OnNode() bool { return denied == nil }

// Run calls run on a node, or here if this process may not create one, and returns the exit code. Tests that need the node
// call [Need].
func (s Suite) Run(run func() int) int {
	if s.Parallel != 0 {
		if err := nstest.SetParallel(s.Parallel); err != nil {
			fmt.Fprintln(os.Stderr, s.Name+":", err)
			return 1
		}
	}
	var bin string
	code, err := Run(Program{
		Keep: s.keep(),
		Before: func() (err error) {
			if s.BinVar != "" {
				bin, err = s.build()
			}
			if err == nil && s.Previous {
				err = findPrevious(s.Top)
			}
			if err == nil && s.Before != nil {
				err = s.Before()
			}
			return err
		},
		Bin: s.bin(),
		Run: func() int {
			if s.BinVar != "" {
				if err := os.Setenv(s.BinVar, BinDir); err != nil {
					fmt.Fprintln(os.Stderr, s.Name+":", err)
					return 1
				}
			}
			return run()
		},
		Furnish: s.Furnish, Cgroups: s.Cgroups,
	})
	if Denied(err) {
		denied, err = err, nil
		code = run()
	}
	if bin != "" { // only on the host: this code runs on the node too
		err = errors.Join(err, os.RemoveAll(bin))
		if s.After != nil {
			err = errors.Join(err, s.After())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, s.Name+":", err)
		code = 1
	}
	return code
}

// keep lists the directories that the node keeps. Its first process has them in the environment.
func (s Suite) keep() []string {
	dirs := []string{s.Top}
	if previous := os.Getenv(previousVar); s.Previous && previous != "" {
		dirs = append(dirs, previous)
	}
	return dirs
}

// bin returns the directory of the programs, which the first process has in the environment.
func (s Suite) bin() string {
	if s.BinVar == "" {
		return ""
	}
	return os.Getenv(s.BinVar)
}

// build builds the programs under test and sets BinVar.
func (s Suite) build() (dir string, err error) {
	dir, err = os.MkdirTemp("", "halfclose-"+s.Name)
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), Build(s.Top, dir), os.Setenv(s.BinVar, dir))
}

// NoteSources reads the sources of the programs under test, so that go test, which records the files that a test reads,
// reruns the tests when these change.
func NoteSources(top string, dirs ...string) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				_, err = os.Stat(path)
			}
			return err
		}))
	}
	return errors.Join(errs...)
}
