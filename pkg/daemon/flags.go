// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// addFlags adds the flags of halfclose reaper.
func (c *Config) addFlags(flags *pflag.FlagSet) {
	c.Mode, c.CPUBudget, c.AskCPUBudget = policy.Destroy, 0.02, prober.DefaultBudget
	flags.StringVar(&c.Finder, "finder", finder.NameAuto, "what lists half-closed sockets: auto, sockdiag or bpf; auto takes bpf where the kernel lets it")
	flags.IntVar(&c.MaxBPFSockets, "bpf-sockets", bpf.DefaultMaxSockets, "how many half-closed sockets of the node the bpf finder has room for in the kernel's memory")
	flags.TextVar(&c.Mode, "mode", policy.Destroy, "the most that is done whatever a record says: destroy, observe or off")
	flags.DurationVar(&c.MinGrace, "min-grace", time.Second, "no socket is destroyed sooner, whatever a record says")
	flags.Var((*share)(&c.CPUBudget), "cpu-budget", "the share of one core that sweeping may cost")
	flags.IntVar(&c.MaxDestroysPerSecond, "max-destroys-per-second", 1000, "on the whole node, shared between namespaces; 0 for no bound")
	flags.IntVar(&c.MaxAsksPerSecond, "max-asks-per-second", prober.DefaultMaxPerSecond, "how many peers are asked whether they still know their connection; 0 asks none")
	flags.Var((*share)(&c.AskCPUBudget), "ask-cpu-budget", "the share of one core that asking peers may cost")
	flags.StringVar(&c.MetricsAddress, "metrics-address", "", "serve /metrics and /healthz over TCP at this `HOST:PORT`, such as :20470, to everybody who can reach it")
	flags.StringVar(&c.HostRoot, "host-root", "", "where the host's file system is mounted, when run in a container")
	flags.BoolVar(&c.AllowHostNetns, "allow-host-netns", false, "act on records of the host's own network namespace too")
	flags.DurationVar(&c.IdleExit, "idle-exit", 0, "end after so long without a record; 0 never") // prose:ok: an output, as it was
	flags.BoolVar(&c.Wait, "wait", false, "wait until no other reaper works on the state directory, instead of failing")
	flags.TextVar(&c.LogLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&c.LogFormat, "log-format", logging.Text, "text or json")
	flags.BoolVar(&c.Auto, "auto", false, "started by the CNI plugin")
	_ = flags.MarkHidden("auto")
}

// fromEnvironment sets the flags that the command line does not from HALFCLOSE_... in the environment.
func fromEnvironment(flags *pflag.FlagSet, getenv func(string) string) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "HALFCLOSE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if f.Changed || value == "" || f.Hidden || f.Name == "help" || f.Name == stateDirFlag {
			return
		}
		if e := flags.Set(f.Name, value); e != nil && err == nil {
			err = usageError{fmt.Errorf("%s=%q: %w", name, value, e)}
		}
	})
	return err
}

// checkFlags checks the values of the flags.
func (c *Config) checkFlags() error {
	switch {
	case !slices.Contains(finder.Names(), c.Finder):
		return usageError{fmt.Errorf("--finder is auto, sockdiag or bpf, not %q", c.Finder)}
	case c.MaxBPFSockets < 1:
		return usageError{fmt.Errorf("--bpf-sockets is a number from 1 on, not %d", c.MaxBPFSockets)}
	case c.MinGrace < 0:
		return usageError{fmt.Errorf("--min-grace is a duration from 0s on, not %v", c.MinGrace)}
	case c.MaxDestroysPerSecond < 0:
		return usageError{fmt.Errorf("--max-destroys-per-second is a number from 0 on, not %d", c.MaxDestroysPerSecond)}
	case c.MaxAsksPerSecond < 0:
		return usageError{fmt.Errorf("--max-asks-per-second is a number from 0 on, not %d", c.MaxAsksPerSecond)}
	case !isAddress(c.MetricsAddress):
		return usageError{fmt.Errorf("--metrics-address is HOST:PORT, such as 127.0.0.1:20470, [::1]:20470 or :20470, not %q", c.MetricsAddress)}
	case c.IdleExit < 0:
		return usageError{fmt.Errorf("--idle-exit is a duration from 0s on, not %v", c.IdleExit)}
	case c.LogFormat != logging.Text && c.LogFormat != logging.JSON:
		return usageError{fmt.Errorf("--log-format is text or json, not %q", c.LogFormat)}
	}
	return nil
}

// share is a part of one core, written in per cent.
type share float64

func (s *share) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', -1, 64) + "%" }
func (s *share) Type() string   { return "percent" }

func (s *share) Set(text string) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return fmt.Errorf("want a share of one core above 0%% and up to 100%%, such as 2%%")
	}
	*s = share(v / 100)
	return nil
}
