// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Mutants checks that the tests of pkg/policy notice a wrong judgement: mutants [-j N] [NAME...]
//
// It applies each of a list of small mistakes to a copy of one file, runs the package's own tests with that copy instead,
// and reports the mutants that the tests do not kill. With names it runs these only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/halfclose/halfclose/internal/mutant"
)

// pkg is the package that is mutated, below the top directory.
const pkg = "pkg/policy"

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
	chosen, err := mutant.Choose(mutants(), names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlays := make([]string, len(chosen))
	for i, m := range chosen {
		if overlays[i], err = m.Overlay(top, dir); err != nil {
			return err
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
			fmt.Fprintf(out, "%s (%s): %v\n", m.Name, m.Edits[0].File, results[i])
		}
	}
	if failed {
		return errSurvivors
	}
	fmt.Fprintf(out, "all %d mutants are killed\n", len(chosen))
	return nil
}

// test runs the package's tests with an overlay, and reports whether any fails.
func test(ctx context.Context, top, overlay string) (killed bool, output string, err error) {
	args := []string{"test", "-count=1", "-vet=off", "-failfast", "-timeout=2m"}
	if overlay != "" {
		args = append(args, overlay)
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
