// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
)

// reaperFlags are the flags of halfclose reaper.
type reaperFlags struct {
	finder            string
	bpfSockets        int
	mode              policy.Mode
	minGrace          time.Duration
	cpuBudget         share
	destroysPerSecond int
	metricsAddress    string
	hostRoot          string
	allowHostNetns    bool
	idleExit          time.Duration
	wait              bool
	logLevel          slog.Level
	logFormat         string
	auto              bool // started by the plugin
}

func (f *reaperFlags) add(flags *pflag.FlagSet) {
	f.mode, f.cpuBudget = policy.Destroy, 0.02
	flags.StringVar(&f.finder, "finder", finder.NameAuto, "what lists half-closed sockets: auto, sockdiag or bpf; auto takes bpf where the kernel lets it")
	flags.IntVar(&f.bpfSockets, "bpf-sockets", bpf.DefaultMaxSockets, "how many half-closed sockets of the node the bpf finder has room for in the kernel's memory")
	flags.TextVar(&f.mode, "mode", policy.Destroy, "the most that is done whatever a record says: destroy, observe or off")
	flags.DurationVar(&f.minGrace, "min-grace", time.Second, "no socket is destroyed sooner, whatever a record says")
	flags.Var(&f.cpuBudget, "cpu-budget", "the share of one core that sweeping may cost")
	flags.IntVar(&f.destroysPerSecond, "max-destroys-per-second", 1000, "on the whole node, shared between namespaces; 0 for no bound")
	flags.StringVar(&f.metricsAddress, "metrics-address", "", "serve /metrics and /healthz over TCP at this `HOST:PORT`, such as :20470, to everybody who can reach it")
	flags.StringVar(&f.hostRoot, "host-root", "", "where the host's file system is mounted, when run in a container")
	flags.BoolVar(&f.allowHostNetns, "allow-host-netns", false, "act on records of the host's own network namespace too")
	flags.DurationVar(&f.idleExit, "idle-exit", 0, "end after so long without a record; 0 never")
	flags.BoolVar(&f.wait, "wait", false, "wait until no other reaper works on the state directory, instead of failing")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.BoolVar(&f.auto, "auto", false, "started by the CNI plugin")
	_ = flags.MarkHidden("auto")
}

// fromEnvironment sets the flags that the command line does not from HALFCLOSE_... in the environment.
func fromEnvironment(flags *pflag.FlagSet, getenv func(string) string) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "HALFCLOSE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if f.Changed || value == "" || f.Hidden || f.Name == "help" || f.Name == "state-dir" {
			return
		}
		if e := flags.Set(f.Name, value); e != nil && err == nil {
			err = usageError{fmt.Errorf("%s=%q: %w", name, value, e)}
		}
	})
	return err
}

// check says what is wrong with the values together.
func (f *reaperFlags) check() error {
	switch {
	case !slices.Contains(finder.Names(), f.finder):
		return usageError{fmt.Errorf("--finder is auto, sockdiag or bpf, not %q", f.finder)}
	case f.bpfSockets < 1:
		return usageError{fmt.Errorf("--bpf-sockets is a number from 1 on, not %d", f.bpfSockets)}
	case f.minGrace < 0:
		return usageError{fmt.Errorf("--min-grace is a duration from 0s on, not %v", f.minGrace)}
	case f.destroysPerSecond < 0:
		return usageError{fmt.Errorf("--max-destroys-per-second is a number from 0 on, not %d", f.destroysPerSecond)}
	case !isAddress(f.metricsAddress):
		return usageError{fmt.Errorf("--metrics-address is HOST:PORT, such as 127.0.0.1:20470, [::1]:20470 or :20470, not %q", f.metricsAddress)}
	case f.idleExit < 0:
		return usageError{fmt.Errorf("--idle-exit is a duration from 0s on, not %v", f.idleExit)}
	case f.logFormat != "text" && f.logFormat != "json":
		return usageError{fmt.Errorf("--log-format is text or json, not %q", f.logFormat)}
	}
	return nil
}

// autoIdleExit is how long a reaper that the plugin started stays without a record.
const autoIdleExit = 5 * time.Minute

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

func reaperCommand(e *env) *cobra.Command {
	var f reaperFlags
	cmd := &cobra.Command{
		Use:   "reaper",
		Short: "Run the reaper: find half-closed sockets and destroy those past their grace",
		Long: `Run the reaper. It watches the attachments that the CNI plugin records, finds the
half-closed sockets in their network namespaces, looks again at each whose grace
is over, and destroys it if that look says so too.

One reaper works on a state directory. One that the CNI plugin started hands over
to one that is started by hand or by systemd. Every flag can be set in the
environment too: --min-grace is HALFCLOSE_MIN_GRACE. SIGTERM ends it cleanly; what
it knows of the sockets' ages is saved for the next. SIGHUP has it read the records and
the mode switch again at once.

It needs CAP_SYS_ADMIN to enter network namespaces, CAP_NET_ADMIN to destroy sockets
in them, CAP_SYS_PTRACE for paths like /proc/PID/ns/net, and for the owners of
sockets CAP_DAC_READ_SEARCH too. CAP_SYS_ADMIN is enough for the bpf finder too: it
includes CAP_BPF and CAP_PERFMON.`,
		Example: `  halfclose reaper --mode observe    # account for what would be destroyed
  halfclose reaper --max-destroys-per-second 100 --log-format json
  halfclose reaper --metrics-address 127.0.0.1:20470`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.Flags(), e.getenv); err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			if f.auto && !cmd.Flags().Changed("idle-exit") {
				f.idleExit = autoIdleExit
			}
			return e.reap(cmd.Context(), f, e.switchPath(cmd))
		},
	}
	f.add(cmd.Flags())
	completeOneOf(cmd, "mode", "destroy", "observe", "off")
	completeOneOf(cmd, "finder", finder.Names()...)
	completeOneOf(cmd, "log-level", "debug", "info", "warn", "error")
	completeOneOf(cmd, "log-format", "text", "json")
	return cmd
}
