// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ProgramsVar is an environment variable with a directory that has each program of [Programs] under its package, for a
// machine without the go command and the repository.
const ProgramsVar = "HALFCLOSE_TEST_PROGRAMS"

// Built is a program that suites build.
type Built struct {
	Module  string // the directory of its module, in the repository
	Package string
}

// Programs lists the programs that suites build, except those of one suite alone.
func Programs() []Built {
	programs := []Built{{".", "./cmd/halfclose"}, {".", "./plugins/halfclose"}, {".", "./test/bench/noop"}, {".", "./test/confine"}}
	for _, plugin := range otherPlugins() {
		programs = append(programs, Built{"tools/cni", plugin})
	}
	return programs
}

// otherPlugins lists the packages of the other plugins of the shipped conflist.
func otherPlugins() []string {
	const plugins = "github.com/containernetworking/plugins/plugins/"
	return []string{plugins + "main/bridge", plugins + "ipam/host-local", plugins + "meta/tuning"}
}

// Prebuilt copies the program of a package to a file, if ProgramsVar is set.
func Prebuilt(pkg, to string) (ok bool, err error) {
	dir := os.Getenv(ProgramsVar)
	if dir == "" {
		return false, nil
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return true, err
	}
	return true, copyProgram(filepath.Join(dir, pkg), to)
}

// Build builds halfclose and the plugins of the shipped conflist into dir, in the layout of "make build cni-plugins": the
// command, and in cni the plugins and the link to the reaper. Beside them is confine, which runs a command as in a container.
// top is the repository. Build reuses the other plugins that "make cni-plugins" has built.
func Build(top, dir string) error {
	cni := filepath.Join(dir, "cni")
	err := errors.Join(os.Mkdir(cni, 0o755), buildOnce(top, dir), os.Symlink("../halfclose", filepath.Join(cni, "halfclose-reaper")))
	if err != nil {
		return err
	}
	for _, plugin := range otherPlugins() {
		to := filepath.Join(cni, filepath.Base(plugin))
		made, err := filepath.Abs(filepath.Join(top, "bin/cni", filepath.Base(plugin)))
		if err != nil {
			return err
		}
		if _, err := os.Stat(made); err == nil {
			err = os.Symlink(made, to)
			if err != nil {
				return err
			}
			continue
		}
		if err := build(filepath.Join(top, "tools/cni"), to, plugin); err != nil {
			return err
		}
	}
	return nil
}

// buildOnce builds the command, the plugin and confine as [BuildShared] does, and copies them into dir.
func buildOnce(top, dir string) error {
	for _, p := range []struct{ pkg, name, to string }{
		{"./cmd/halfclose", "halfclose", "halfclose"},
		{"./plugins/halfclose", "halfclose-cni", "cni/halfclose"},
		{"./test/confine", "confine", "confine"},
	} {
		path, err := BuildShared(top, p.name, p.pkg)
		if err == nil {
			err = copyProgram(path, filepath.Join(dir, p.to))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// BuildShared builds a program of the repository top without the race detector, and returns its path in bin/test. Several
// packages' tests share it: the go command relinks the program only if its sources have changed.
func BuildShared(top, name, pkg string) (path string, err error) {
	dir, err := filepath.Abs(filepath.Join(top, "bin/test"))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks it
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path = filepath.Join(dir, name)
	return path, build(top, path, pkg)
}

// build builds one program of the module in dir.
func build(dir, to, pkg string) error {
	if ok, err := Prebuilt(pkg, to); ok {
		return err
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", to, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
