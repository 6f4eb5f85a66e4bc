// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command kernels runs tests of halfclose on other kernels. It boots each kernel, from Debian's packages, in a machine that
// qemu emulates in software, and writes what ran where: see docs/kernels.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	series []string // of kernels, as 6.1
	choice choice
	cpus   int
	record bool
	out    string
}

func parse(args []string) (options, error) {
	var o options
	var suites string
	flags := flag.NewFlagSet("kernels", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: kernels [flags] [SERIES...]\n\nRuns tests on kernels, such as 6.1 and 5.10, or on all. Run it in the repository.")
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.choice.short, "short", false, "run only the tests of the list short in test/kernels/suites.go, in "+shortSeries+" unless another kernel is named")
	flags.StringVar(&suites, "suites", "", "run only these suites: `directories`, separated by spaces")
	flags.StringVar(&o.choice.pattern, "run", "", "run only top-level tests whose names match the `regexp`")
	flags.IntVar(&o.cpus, "cpus", 2, "`number` of CPUs of the machine")
	flags.BoolVar(&o.record, "record", false, "write the results of kernels without a failure to "+resultsFile+" and the table of "+matrixPage)
	flags.StringVar(&o.out, "out", "bin/kernels", "`directory` of the programs, and of each kernel's console and output")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.series, o.choice.suites = flags.Args(), strings.Fields(suites)
	if len(o.series) == 0 {
		o.series = series()
		if o.choice.short {
			o.series = []string{shortSeries}
		}
	}
	if o.record && (o.choice.pattern != "" || len(o.choice.suites) > 0) {
		return o, errors.New("-record needs all tests, or those of -short: leave out -suites and -run")
	}
	return o, nil
}

// run runs the tests on each kernel, and reports whether all have passed.
func run(ctx context.Context, args []string) (ok bool, err error) {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return false, err
	}
	steps, err := o.choice.steps(".")
	if err != nil {
		return false, err
	}
	files, err := build(ctx, o.out, steps)
	if err != nil {
		return false, err
	}
	ok = true
	for _, series := range o.series {
		k, err := fetch(ctx, series)
		if errors.Is(err, errUnavailable) {
			fmt.Printf("kernels: skipped %s: %v\n", series, err)
			continue
		}
		if err != nil {
			return false, err
		}
		result, err := k.test(ctx, o.cpus, filepath.Join(o.out, series), files, steps)
		if err != nil {
			return false, fmt.Errorf("kernel %s: %w", series, err)
		}
		result.Short = o.choice.short
		fmt.Print(result.summary())
		ok = ok && result.passed()
		if o.record && result.passed() {
			if err := record(".", result); err != nil {
				return false, err
			}
		}
	}
	return ok, nil
}
