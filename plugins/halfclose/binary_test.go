// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

// binaries is where the tests find the binaries that they run. They are built when the first test asks.
var binaries string

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "halfclose-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	return m.Run()
}

// build builds a command as it is shipped, statically linked and without symbols, and returns its path.
func build(tb testing.TB, pkg string) string {
	tb.Helper()
	path := filepath.Join(binaries, filepath.Base(pkg))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/halfclose/halfclose/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// process is a plugin process to be.
type process struct {
	path  string
	env   map[string]string // on top of what every call has
	stdin string
}

// exited is what came of it.
type exited struct {
	code           int
	stdout, stderr string
}

// run runs the process with the environment given and no more.
func (p process) run() (exited, error) {
	cmd := exec.Command(p.path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for key, value := range p.env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.Stdin = strings.NewReader(p.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		err = nil
	}
	if err != nil {
		return exited{}, fmt.Errorf("run %s: %w", p.path, err)
	}
	return exited{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}
