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

// Suite is a package's tests, which run on a node.
type Suite struct {
	Name string // of the package, to say what failed
	Top  string // the repository, which is kept on the node
	// BinVar, unless empty, names the environment variable that has the directory of the programs that were built
	// for the tests: the command, and in cni the plugins.
	BinVar string
	// Single says that tests upgrade from the last release that was one program, which [NeedSingle] returns.
	Single bool
	// Parallel, unless 0, is how many tests run side by side, unless -parallel is given.
	Parallel int
	// Before and After run on the host, beside what Program's do. Either may be nil.
	Before, After func() error
	Furnish       func() error // as Program's
	Cgroups       bool         // as Program's
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
			if err == nil && s.Single {
				err = findSingle(s.Top)
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
	if bin != "" { // so not on the node, where this is run too
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

// keep are the directories of the host that the node keeps. Its first process has them in the environment.
func (s Suite) keep() []string {
	dirs := []string{s.Top}
	if single := os.Getenv(singleVar); s.Single && single != "" {
		dirs = append(dirs, single)
	}
	return dirs
}

// bin is the directory of the programs, which the node's first process has in the environment.
func (s Suite) bin() string {
	if s.BinVar == "" {
		return ""
	}
	return os.Getenv(s.BinVar)
}

// build builds what is tested, and says where in the environment.
func (s Suite) build() (dir string, err error) {
	dir, err = os.MkdirTemp("", "halfclose-"+s.Name)
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), Build(s.Top, dir), os.Setenv(s.BinVar, dir))
}

// NoteSources lets go test know what the binaries under test are made of, so that it runs the tests again when that
// has changed: it notes what files a test looks at.
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
