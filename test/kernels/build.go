// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/test/node"
)

// build builds the first process, the test programs of the steps and the programs under test into dir, and returns the
// files of the machine, except those of its kernel. Run it in the repository.
func build(ctx context.Context, dir string, steps []step) ([]file, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := hostFiles()
	if err != nil {
		return nil, err
	}
	first := filepath.Join(dir, "guest")
	if err := compile(ctx, ".", "build", first, "./test/kernels/guest"); err != nil {
		return nil, err
	}
	files = append(files, file{path: "/init", from: first}, file{path: "/root/.keep", text: []byte{}}, file{path: "/etc/passwd", text: []byte("root:x:0:0::/root:/bin/sh\n")},
		file{path: "/var/lib/.keep", text: []byte{}}, file{path: "/etc/.keep", text: []byte{}}, file{path: "/opt/.keep", text: []byte{}})
	for _, p := range node.Programs() {
		to := filepath.Join(dir, "programs", p.Package)
		if err := compile(ctx, p.Module, "build", to, p.Package); err != nil {
			return nil, err
		}
		files = append(files, file{path: path.Join(programsDir, p.Package), from: to})
	}
	var have []string
	for _, s := range steps {
		if s.doctor || slices.Contains(have, s.suite.dir) {
			continue
		}
		have = append(have, s.suite.dir)
		to := filepath.Join(dir, path.Base(testPath(s.suite)))
		if err := compile(ctx, ".", "test", to, "./"+s.suite.dir); err != nil {
			return nil, err
		}
		files = append(files, file{path: testPath(s.suite), from: to}, file{path: path.Join(sourceDir, s.suite.dir, ".keep"), text: []byte{}})
		data, err := treeFiles(".", path.Join(s.suite.dir, "testdata"))
		if err != nil {
			return nil, err
		}
		files = append(files, data...)
	}
	return files, nil
}

// compile builds a program or a test program of the module in dir, static, for the emulated processor.
func compile(ctx context.Context, dir, verb, to, pkg string) error {
	args := []string{verb, "-trimpath", "-ldflags=-s -w", "-o", to}
	if verb == "test" {
		args = append(args, "-c")
	} else {
		args = append(args, "-buildvcs=false")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return nil
}
