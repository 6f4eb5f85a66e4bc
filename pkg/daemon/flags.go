// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/adopt"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/prober"
)

// addFlags adds the flags of halfclose reaper.
func (c *Config) addFlags(flags *pflag.FlagSet) {
	c.Mode, c.CPUBudget, c.AskCPUBudget = policy.Destroy, 0.02, prober.DefaultBudget
	flags.StringVar(&c.Finder, "finder", finder.NameAuto, "`FINDER` of half-closed sockets: auto, sockdiag or bpf; auto is bpf if the kernel supports it")
	flags.IntVar(&c.MaxBPFSockets, "bpf-sockets", bpf.DefaultMaxSockets, "capacity of the bpf finder's socket map, in `SOCKETS` of the node")
	flags.TextVar(&c.Mode, "mode", policy.Destroy, "cap every record's mode at `MODE`: destroy, observe or off")
	flags.StringVar(&c.PolicyFile, "policy-file", policyfile.DefaultPath, "`FILE` with policies of this node's pods, followed as it changes; \"halfclose policy check\" checks it")
	flags.DurationVar(&c.MinGrace, "min-grace", time.Second, "`DURATION` that every grace has at least")
	flags.DurationVar(&c.Sample, "sample", 0, "look at each half-closed socket at least every `DURATION`, for a shorter halfclose simulate --grace; 0 looks as often as the policies require")
	flags.Var((*share)(&c.CPUBudget), "cpu-budget", "bound sweeping to `PERCENT` of one core")
	flags.IntVar(&c.MaxDestroysPerSecond, "max-destroys-per-second", 1000, "bound destroys on the node to `N` per second, shared fairly between network namespaces; 0 is no bound")
	flags.IntVar(&c.MaxAsksPerSecond, "max-asks-per-second", prober.DefaultMaxPerSecond, "ask at most `N` peers per second whether they still know their connection; 0 asks none")
	flags.Var((*share)(&c.AskCPUBudget), "ask-cpu-budget", "bound asking peers to `PERCENT` of one core")
	flags.StringVar(&c.MetricsAddress, "metrics-address", "", "serve /metrics and /healthz without authentication on TCP `HOST:PORT`, such as :20470")
	flags.StringVar(&c.HostRoot, "host-root", "", "`DIR` where the host's root file system is mounted, in a container")
	flags.BoolVar(&c.Adopt, "adopt", true, "register the containers of CNI that were running before: see halfclose adopt")
	c.CNICaches, c.CNIConfDirs = adopt.CacheDirs(), adopt.ConfDirs()
	flags.Var(&paths{list: &c.CNICaches}, "cni-cache", "`DIR` of libcni's cache, on the host; repeatable")
	flags.Var(&paths{list: &c.CNIConfDirs}, "cni-conf-dir", "`DIR` of network configurations, on the host; repeatable")
	flags.Var(&paths{list: &c.AdoptNetns}, "adopt-netns", "register each network namespace that is mounted in `DIR`, such as /run/docker/netns, with mode observe; repeatable")
	flags.BoolVar(&c.AllowHostNetns, "allow-host-netns", false, "act on records of the host's own network namespace")
	flags.DurationVar(&c.IdleExit, "idle-exit", 0, "exit after `DURATION` without attachments; 0 is never")
	flags.BoolVar(&c.Wait, "wait", false, "wait until no other reaper uses the state directory, instead of failing")
	flags.Var((*level)(&c.LogLevel), "log-level", "log `LEVEL`: debug, info, warn or error")
	flags.StringVar(&c.LogFormat, "log-format", logging.Text, "log `FORMAT`: text or json")
	flags.BoolVar(&c.Auto, "auto", false, "started by the CNI plugin")
	_ = flags.MarkHidden("auto")
}

// fromEnvironment sets each flag that is not on the command line from its variable HALFCLOSE_... in the environment.
func fromEnvironment(flags *pflag.FlagSet, getenv func(string) string) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f.Name)
		value := getenv(name)
		if f.Changed || value == "" || f.Hidden || f.Name == "help" || f.Name == stateDirFlag {
			return
		}
		if e := flags.Set(f.Name, value); e != nil && err == nil {
			err = cmdline.AsUsage(fmt.Errorf("%s=%q: %w", name, value, e))
		}
	})
	return err
}

const variablePrefix = "HALFCLOSE_"

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// unknownVariables returns a warning about each variable HALFCLOSE_... that belongs to no flag: it may be misspelt, and
// HALFCLOSE_MOD=observe does not keep the reaper from destroying. Kubernetes sets variables such as HALFCLOSE_SERVICE_HOST
// and HALFCLOSE_PORT_80_TCP for a Service of that name.
func unknownVariables(flags *pflag.FlagSet, environ []string) (warnings []string) {
	var flagNames, known []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			flagNames, known = append(flagNames, f.Name), append(known, variable(f.Name))
		}
	})
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		ours := strings.HasPrefix(name, variablePrefix)
		ofService := strings.Contains(name, "_SERVICE_") || name == variablePrefix+"PORT" || strings.HasPrefix(name, variablePrefix+"PORT_")
		if !ours || ofService || slices.Contains(known, name) {
			continue
		}
		warning := "the environment variable " + name + " belongs to no flag and has no effect"
		if near, ok := policy.Nearest(strings.TrimPrefix(name, variablePrefix), flagNames); ok {
			warning += ": did you mean " + variable(near) + "?"
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

// checkFlags checks the values of the flags.
func (c *Config) checkFlags() error {
	switch {
	case !slices.Contains(finder.Names(), c.Finder):
		return cmdline.AsUsage(fmt.Errorf("--finder must be auto, sockdiag or bpf, not %q", c.Finder))
	case c.MaxBPFSockets < 1:
		return cmdline.AsUsage(fmt.Errorf("--bpf-sockets must be 1 or more, not %d", c.MaxBPFSockets))
	case c.MinGrace < 0:
		return cmdline.AsUsage(fmt.Errorf("--min-grace must be 0s or longer, not %v", c.MinGrace))
	case c.Sample != 0 && c.Sample < time.Second:
		return cmdline.AsUsage(fmt.Errorf("--sample must be 0s, or 1s or longer, not %v", c.Sample))
	case !filepath.IsAbs(c.PolicyFile):
		return cmdline.AsUsage(fmt.Errorf("--policy-file must be an absolute path such as %s, not %q", policyfile.DefaultPath, c.PolicyFile))
	case c.MaxDestroysPerSecond < 0:
		return cmdline.AsUsage(fmt.Errorf("--max-destroys-per-second must be 0 or more, not %d", c.MaxDestroysPerSecond))
	case c.MaxAsksPerSecond < 0:
		return cmdline.AsUsage(fmt.Errorf("--max-asks-per-second must be 0 or more, not %d", c.MaxAsksPerSecond))
	case !isAddress(c.MetricsAddress):
		return cmdline.AsUsage(fmt.Errorf("--metrics-address must be HOST:PORT, such as 127.0.0.1:20470, [::1]:20470 or :20470, not %q", c.MetricsAddress))
	case c.IdleExit < 0:
		return cmdline.AsUsage(fmt.Errorf("--idle-exit must be 0s or longer, not %v", c.IdleExit))
	case c.LogFormat != logging.Text && c.LogFormat != logging.JSON:
		return cmdline.AsUsage(fmt.Errorf("--log-format must be text or json, not %q", c.LogFormat))
	}
	return nil
}

// paths is a list of absolute paths, separated by commas. The first value replaces the default, and further ones are added.
type paths struct {
	list *[]string
	set  bool
}

func (p *paths) String() string {
	if p.list == nil { // pflag compares with the zero value
		return ""
	}
	return strings.Join(*p.list, ",")
}

func (p *paths) Type() string { return "paths" }

func (p *paths) Set(text string) error {
	all := strings.Split(text, ",")
	if slices.ContainsFunc(all, func(path string) bool { return !filepath.IsAbs(path) }) {
		return errors.New("want absolute paths, separated by commas")
	}
	if !p.set {
		*p.list, p.set = nil, true
	}
	*p.list = append(*p.list, all...)
	return nil
}

// level is the lowest level that is logged.
type level slog.Level

func (l *level) String() string { return strings.ToLower(slog.Level(*l).String()) }
func (l *level) Type() string   { return "level" }

func (l *level) Set(text string) error {
	if (*slog.Level)(l).UnmarshalText([]byte(text)) != nil {
		return errors.New("want debug, info, warn or error")
	}
	return nil
}

// share is a share of one core, written as a percentage.
type share float64

func (s *share) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', -1, 64) + "%" }
func (s *share) Type() string   { return "percent" }

func (s *share) Set(text string) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return errors.New("must be above 0% and up to 100% of one core, such as 2%")
	}
	*s = share(v / 100)
	return nil
}
