// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Mutants checks that the tests of pkg/policy notice a wrong judgement: mutants [-j N] [NAME...]
//
// It applies each of a list of small mistakes to a copy of one file, runs the package's own tests with that copy instead,
// and reports the mutants that the tests do not kill. With names it runs these only.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// pkg is the package that is mutated, below the top directory.
const pkg = "pkg/policy"

// mutant is one mistake: the only occurrence of old in a file of pkg becomes new.
type mutant struct {
	name, file, old, new string
}

// errSurvivors is the error of run after it has printed surviving mutants.
var errSurvivors = errors.New("mutants: the tests of " + pkg + " do not notice all of them")

func main() {
	jobs := flag.Int("j", runtime.NumCPU(), "run that many at a time")
	flag.Parse()
	if err := run(context.Background(), ".", *jobs, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run applies the mutants to the source tree whose top directory is top.
func run(ctx context.Context, top string, jobs int, names []string, out io.Writer) error {
	top, err := filepath.Abs(top)
	if err != nil {
		return err
	}
	chosen := mutants()
	if len(names) > 0 {
		chosen = slices.DeleteFunc(chosen, func(m mutant) bool { return !slices.Contains(names, m.name) })
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlays := make([]string, len(chosen))
	for i, m := range chosen {
		if overlays[i], err = m.write(top, filepath.Join(dir, m.name)); err != nil {
			return fmt.Errorf("mutant %s: %w", m.name, err)
		}
	}
	if killed, output, err := test(ctx, top, ""); err != nil || killed {
		return fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", pkg, err, output)
	}
	results := make([]error, len(chosen))
	var group sync.WaitGroup
	slots := make(chan struct{}, max(jobs, 1))
	for i := range chosen {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			killed, output, err := test(ctx, top, overlays[i])
			switch {
			case err != nil:
				results[i] = fmt.Errorf("cannot be tested: %w\n%s", err, output)
			case !killed:
				results[i] = errors.New("lives")
			}
		})
	}
	group.Wait()
	failed := false
	for i, m := range chosen {
		if results[i] != nil {
			failed = true
			fmt.Fprintf(out, "%s (%s): %v\n", m.name, m.file, results[i])
		}
	}
	if failed {
		return errSurvivors
	}
	fmt.Fprintf(out, "all %d mutants are killed\n", len(chosen))
	return nil
}

// write writes the mutated file and its overlay into dir, and returns the overlay's path.
func (m mutant) write(top, dir string) (string, error) {
	path := filepath.Join(top, pkg, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(string(source))
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.file, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	mutated := filepath.Join(dir, m.file)
	if err := os.WriteFile(mutated, []byte(changed), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, "overlay.json")
	return at, os.WriteFile(at, overlay, 0o600)
}

// apply returns the source with the mistake.
func (m mutant) apply(source string) (string, error) {
	if n := strings.Count(source, m.old); n != 1 {
		return "", fmt.Errorf("the text to be changed is there %d times, want once: %q", n, m.old)
	}
	if m.old == m.new {
		return "", errors.New("changes nothing")
	}
	return strings.Replace(source, m.old, m.new, 1), nil
}

// test runs the package's tests with an overlay, and reports whether any fails.
func test(ctx context.Context, top, overlay string) (killed bool, output string, err error) {
	args := []string{"test", "-count=1", "-vet=off", "-failfast", "-timeout=2m"}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+pkg)...)
	cmd.Dir = top
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false, string(b), nil
	case errors.As(err, &exit) && !strings.Contains(string(b), "[build failed]") && !strings.Contains(string(b), "[setup failed]"):
		return true, string(b), nil
	}
	return false, string(b), err
}
