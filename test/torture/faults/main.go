// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Faults checks that the torture test notices faults: faults [-j N] [NAME...]
//
// It builds halfclose with each of a list of planted faults, and runs the torture test with a profile that aims at the fault.
// The test must find something wrong within a minute. With the same profile and seed it must pass without the fault.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/mutant"
)

func main() {
	jobs := flag.Int("j", 4, "run that many at a time")
	seed := flag.Uint64("seed", 1, "seed of the torture test")
	logs := flag.String("log", "bin/torture/faults", "directory of the logs")
	flag.Parse()
	if err := run(context.Background(), runner{seed: *seed, logs: *logs, out: os.Stdout}, *jobs, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "torture-faults:", err)
		os.Exit(1)
	}
}

// limit is the longest time until a fault is noticed.
const limit = time.Minute

// runner runs the torture test.
type runner struct {
	seed uint64
	logs string
	dir  string // of programs
	out  io.Writer
}

func run(ctx context.Context, r runner, jobs int, names []string) error {
	all := faults()
	mutants := make([]mutant.Mutant, len(all))
	byName := make(map[string]fault)
	for i, f := range all {
		mutants[i], byName[f.Name] = f.Mutant, f
	}
	chosen, err := mutant.Choose(mutants, names)
	if err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp("", "torture-faults"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if err := errors.Join(build(ctx, "./test/torture", r.torture(), ""), r.build(ctx, "none", "")); err != nil {
		return err
	}
	for _, m := range chosen { // before any run, which would be late while the CPUs compile
		overlay, err := m.Overlay(".", r.dir)
		if err == nil {
			err = r.build(ctx, "with-"+m.Name, overlay)
		}
		if err != nil {
			return err
		}
	}
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
		slots = make(chan struct{}, max(jobs, 1))
	)
	for _, m := range chosen {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := r.check(ctx, byName[m.Name])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// check runs the torture test with a fault and without.
func (r *runner) check(ctx context.Context, f fault) error {
	began := time.Now()
	found, output, err := r.test(ctx, f, "with-"+f.Name)
	took := min(time.Since(began), r.firstFault(f, "with-"+f.Name))
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("the torture test does not notice it:\n%s", output)
	case took > limit:
		return fmt.Errorf("the torture test has taken %v to notice it", took)
	}
	if found, output, err = r.test(ctx, f, "none"); err != nil {
		return err
	} else if found {
		return fmt.Errorf("the torture test fails without it:\n%s", output)
	}
	fmt.Fprintf(r.out, "%s: noticed in %v, and passed without it\n", f.Name, took.Round(time.Second))
	return nil
}

// firstFault returns when the schedule of a run has its first fault. Some show during the run, and the checks at its end take
// their time.
func (r *runner) firstFault(f fault, programs string) time.Duration {
	schedule, _ := os.ReadFile(filepath.Join(r.logDir(f, programs), "schedule.log"))
	for line := range strings.Lines(string(schedule)) {
		at, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if d, err := time.ParseDuration(at); err == nil && strings.HasPrefix(rest, "fault: ") {
			return d
		}
	}
	return math.MaxInt64
}

func (r *runner) logDir(f fault, programs string) string {
	return filepath.Join(r.logs, f.Name+"-"+programs)
}

// test runs the torture test, and reports whether it has found something wrong.
func (r *runner) test(ctx context.Context, f fault, programs string) (found bool, output string, err error) {
	cmd := exec.CommandContext(ctx, r.torture(), "-profile", f.Name, "-finder", f.finder, "-seed", strconv.FormatUint(r.seed, 10),
		"-duration", f.lasts.String(), "-namespaces", "6", "-programs", filepath.Join(r.dir, programs), "-log", r.logDir(f, programs))
	out, err := cmd.CombinedOutput()
	output = string(out)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false, output, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(output, f.sign):
		return true, output, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return false, "", fmt.Errorf("the torture test has found something else than %q:\n%s", f.sign, output)
	}
	return false, "", fmt.Errorf("the torture test did not work: %w\n%s", err, output)
}

func (r *runner) torture() string { return filepath.Join(r.dir, "torture") }

// build builds command and plugin into a directory.
func (r *runner) build(ctx context.Context, name, overlay string) error {
	return errors.Join(build(ctx, "./cmd/halfclose", filepath.Join(r.dir, name, "halfclose"), overlay),
		build(ctx, "./plugins/halfclose", filepath.Join(r.dir, name, "cni", "halfclose"), overlay))
}

func build(ctx context.Context, pkg, to, overlay string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", to}
	if overlay != "" {
		args = append(args, overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
