// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// module is a module that a program links, as the go command lists it.
type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// goPackage is a package that a program links.
type goPackage struct {
	ImportPath, Dir string
	Standard        bool
	Module          *module
}

// linked are the packages of a module that programs link.
type linked struct {
	module module
	dirs   []string // of its packages
}

// standardLibrary is the module path that the Go project's tools use for the standard library.
const standardLibrary = "std"

// linkedModules returns the modules outside this repository that the programs link on any of the platforms, and the
// standard library, in the order of their paths.
func linkedModules(programs, platforms []string) ([]linked, error) {
	dirs := make(map[module]map[string]bool)
	for _, program := range programs {
		for _, platform := range platforms {
			packages, err := listPackages(program, platform)
			if err != nil {
				return nil, err
			}
			for _, p := range packages {
				m := p.owner()
				if p.Standard || m.isOurs() {
					continue
				}
				if dirs[m] == nil {
					dirs[m] = make(map[string]bool)
				}
				dirs[m][p.Dir] = true
			}
		}
	}
	std, err := standard()
	if err != nil {
		return nil, err
	}
	all := []linked{std}
	for m, d := range dirs {
		all = append(all, linked{m, slices.Sorted(maps.Keys(d))})
	}
	slices.SortFunc(all, func(a, b linked) int { return strings.Compare(a.module.Path, b.module.Path) })
	return all, nil
}

// owner returns the module with the package's source.
func (p goPackage) owner() module {
	switch {
	case p.Module == nil:
		return module{}
	case p.Module.Replace != nil:
		return *p.Module.Replace
	}
	return *p.Module
}

// isOurs reports whether the module is in this repository: the main module, or one by a path in go.mod.
func (m module) isOurs() bool { return m.Main || strings.HasPrefix(m.Path, ".") }

// listPackages returns the packages that a program links on a platform.
func listPackages(dir, platform string) ([]goPackage, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, fmt.Errorf("platform %q is not OS/ARCH", platform)
	}
	out, err := goCommand(dir, []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"},
		"list", "-deps", "-json=ImportPath,Dir,Standard,Module", ".")
	if err != nil {
		return nil, err
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the packages of %s: %w", dir, err)
		}
		if !p.Standard && p.Module == nil {
			return nil, fmt.Errorf("%s in %s belongs to no module", p.ImportPath, dir)
		}
		packages = append(packages, p)
	}
}

// standard returns the standard library of the toolchain that builds the programs.
func standard() (linked, error) {
	out, err := goCommand(".", nil, "env", "GOROOT", "GOVERSION")
	if err != nil {
		return linked{}, err
	}
	root, version, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !ok {
		return linked{}, fmt.Errorf("go env printed %q", out)
	}
	return linked{module{Path: standardLibrary, Version: version, Dir: root}, []string{root}}, nil
}

// goCommand runs the go command in a directory, and returns its output.
func goCommand(dir string, env []string, args ...string) ([]byte, error) {
	var stderr strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run go %s in %s: %w: %s", args[0], dir, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
