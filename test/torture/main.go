// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command torture runs halfclose on a node on which everything goes wrong, and compares what happened to each connection
// with what a model expects.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/agent"
	"github.com/halfclose/halfclose/test/torture/world"
)

func main() { os.Exit(run(os.Args[1:])) }

// The exit codes: a fault of halfclose, or a test that did not work.
const (
	exitPassed = 0
	exitFault  = 1
	exitBroken = 2
)

// options has the flags.
type options struct {
	duration   time.Duration
	seed       uint64
	finder     string
	profile    string
	programs   string
	log        string
	concurrent int
	quiet      bool // no disturbances
	only       string
	verbose    bool
	soak       bool // sample what the reaper uses, and fail if it rises
}

// seedVar passes the seed to the node, so that a seed that was drawn is drawn once.
const seedVar = "_HALFCLOSE_TORTURE_SEED"

func run(args []string) int {
	if err := inject.Main(); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return exitBroken
	}
	if len(args) == 1 && args[0] == world.AgentCommand {
		if err := agent.Run(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "torture: agent:", err)
			return exitBroken
		}
		return 0
	}
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "torture:", err)
		return exitBroken
	case os.Geteuid() != 0:
		fmt.Fprintln(os.Stderr, "torture: it needs network namespaces and BPF programs: run it as root")
		return exitBroken
	}
	if err := os.MkdirAll(o.log, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return exitBroken
	}
	wd, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return exitBroken
	}
	code, err := node.Run(node.Program{
		Keep: []string{wd, o.log}, Bin: o.programs, Cgroups: true, Run: func() int { return torture(o) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return exitBroken
	}
	return code
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.DurationVar(&o.duration, "duration", 2*time.Minute, "how long namespaces come and go")
	f.Uint64Var(&o.seed, "seed", 0, "all decisions follow from it; 0 draws one")
	f.StringVar(&o.finder, "finder", "turns", "bpf, sockdiag, or turns: the seed decides")
	f.StringVar(&o.profile, "profile", "", "aim at a kind of fault")
	f.StringVar(&o.programs, "programs", "bin", "the directory of halfclose and cni/halfclose")
	f.StringVar(&o.log, "log", "bin/torture", "the directory of the logs")
	f.IntVar(&o.concurrent, "namespaces", 12, "how many exist at the same time")
	f.BoolVar(&o.quiet, "quiet", false, "no disturbances")
	f.StringVar(&o.only, "disturbances", "", "only these, with commas")
	f.BoolVar(&o.verbose, "v", false, "print the schedule too, which is in the log")
	f.BoolVar(&o.soak, "soak", false, "sample memory, descriptors, goroutines, threads and lateness, and fail if one rises: use it with -profile soak")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.finder != "bpf" && o.finder != "sockdiag" && o.finder != "turns" {
		return o, fmt.Errorf("-finder is bpf, sockdiag or turns, not %q", o.finder)
	}
	if o.seed == 0 {
		if _, err := fmt.Sscan(os.Getenv(seedVar), &o.seed); err != nil {
			o.seed = rand.Uint64() >> 32
		}
		if err := os.Setenv(seedVar, fmt.Sprint(o.seed)); err != nil {
			return o, err
		}
	}
	o.log, err = filepath.Abs(o.log)
	return o, err
}
