// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/test/node"
)

func main() { os.Exit(run(os.Args[1:])) }

// options has the flags.
type options struct {
	short     bool
	output    string
	only      string
	halfclose string // the command
	plugin    string
	noop      string // the plugin that does nothing
	profile   string
	rounds    int // of compare, unless zero
}

// measures lists the parts of a run in order.
func measures() []string {
	return []string{"find", "steady", "life", "lateness", "burst", "memory", "api", "ask", "destroy", "add", "growth", "candidates", "expire", "flood", "locked"}
}

// onNodes lists the measures that need a node full of namespaces.
func onNodes() []string { return slices.Concat(onSharedHash(), onOwnHashes()) }

// onSharedHash lists the measures with the default hash, onOwnHashes those in which each namespace has its own hash.
func onSharedHash() []string { return []string{"find", "steady", "life", "lateness", "burst", "api"} }
func onOwnHashes() []string  { return []string{"find", "memory"} }

// run runs the command line and returns the exit code.
func run(args []string) int {
	switch {
	case len(args) == 1 && args[0] == holdCommand:
		return code(hold(os.Stdin, os.Stdout))
	case len(args) == 1 && args[0] == pingCommand:
		return code(pingPong(os.Stdin, os.Stdout))
	}
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	case os.Geteuid() != 0:
		return code(errors.New("it needs network namespaces and BPF programs: run it as root"))
	}
	wd, err := os.Getwd()
	if err != nil {
		return code(err)
	}
	status, err := node.Run(node.Program{Keep: []string{wd}, Run: func() int { return code(bench(o)) }})
	return max(status, code(err))
}

func code(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.short, "short", os.Getenv("BENCH_SHORT") != "", "few namespaces and rounds: whether it works, not how fast it is (BENCH_SHORT=1)")
	f.StringVar(&o.output, "output", "table", "how to print: table or json")
	f.StringVar(&o.only, "only", "", "measure only these, separated by commas: "+strings.Join(measures(), ", "))
	f.StringVar(&o.halfclose, "halfclose", "bin/halfclose", "the halfclose command")
	f.StringVar(&o.plugin, "plugin", "bin/cni/halfclose", "the halfclose plugin")
	f.StringVar(&o.noop, "noop", "bin/bench/noop", "the plugin to compare ADD with")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the reaper's destroying to files of this name, a number behind it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.output != "table" && o.output != "json" {
		return o, fmt.Errorf("-output is table or json, not %q", o.output)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for name := range o.wanted() {
		if !slices.Contains(measures(), name) {
			return o, fmt.Errorf("-only knows %s, not %q", strings.Join(measures(), ", "), name)
		}
	}
	return o, nil
}

// wanted returns the set of measures to run.
func (o options) wanted() map[string]bool {
	set := make(map[string]bool)
	for _, name := range measures() {
		set[name] = o.only == ""
	}
	if o.only != "" {
		for name := range strings.SplitSeq(o.only, ",") {
			set[name] = true
		}
	}
	return set
}

// runDir has the files of a run, in memory: /run is the node's own.
const runDir = "/run/bench"

// bench runs the measures on its node and prints the report.
func bench(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := os.Mkdir(runDir, 0o700); err != nil {
		return err
	}
	r := report{Machine: readMachine(), Short: o.short}
	want := o.wanted()
	if slices.ContainsFunc(onNodes(), func(name string) bool { return want[name] }) {
		if err := onNode(ctx, o, want, &r); err != nil {
			return err
		}
	}
	if want["ask"] {
		a, err := measureAsk(ctx, o)
		if err != nil {
			return fmt.Errorf("measure asking peers: %w", err)
		}
		r.Ask = a
	}
	if want["destroy"] {
		d, err := measureDestroy(ctx, o)
		if err != nil {
			return fmt.Errorf("measure destroying: %w", err)
		}
		r.Destroy = d
	}
	if want["add"] {
		a, err := measureAdd(ctx, o)
		if err != nil {
			return fmt.Errorf("measure ADD: %w", err)
		}
		r.Add = a
	}
	if err := atScale(ctx, o, want, &r); err != nil {
		return err
	}
	r.finish()
	return r.write(os.Stdout, o.output)
}

// atScale runs the measurements that need a large node. It leaves out those for which the memory is too small.
func atScale(ctx context.Context, o options, want map[string]bool, r *report) error {
	for _, m := range []struct {
		name, what string
		measure    func() error
	}{
		{"growth", "finding on a growing node", func() (err error) { r.Growth, err = measureGrowth(ctx, o); return err }},
		{"candidates", "many candidates", func() (err error) { r.Candidates, err = measureCandidates(ctx, o); return err }},
		{"expire", "many sockets that expire together", func() (err error) { r.Expire, err = measureExpire(ctx, o); return err }},
		{"flood", "lateness beside a flood", func() (err error) { r.Flood, err = measureFlood(ctx, o); return err }},
		{"locked", "destroying under a socket's lock", func() (err error) { r.Locked, err = measureLocked(ctx, o); return err }},
	} {
		if !want[m.name] {
			continue
		}
		err := m.measure()
		if errors.Is(err, errNoMemory) {
			progress("%v", err)
			r.Notes = append(r.Notes, err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.what, err)
		}
	}
	return nil
}

// write writes the report.
func (r *report) write(w io.Writer, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return r.tables(w)
}

// progress prints a line about the current step to stderr.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
