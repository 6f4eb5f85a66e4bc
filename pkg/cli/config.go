// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/term"
)

func configCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the flags of the running reaper and where each comes from",
		Long: `Show the configuration of this node's reaper: the value of each flag of
"halfclose reaper", and whether it comes from the command line (flag), from the
environment, or is the default. A reaper that the CNI plugin started has one
default of its own (plugin).

The level of the log may differ from the flag: see "halfclose log-level".`,
		Example: `  halfclose config
  halfclose config -o json | jq '.flags[] | select(.source != "default")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			cfg, err := client.Config(cmd.Context())
			if err != nil {
				return err
			}
			return e.printConfig(cfg)
		},
	}
	e.tableFlags(cmd)
	return cmd
}

func (e *env) printConfig(cfg api.Config) error {
	if e.PrintsObject() {
		return e.PrintObject(cfg)
	}
	t := e.NewTable(term.Column{Name: "FLAG"}, term.Column{Name: "VALUE"}, term.Column{Name: "FROM"})
	for _, f := range cfg.Flags {
		from := string(f.Source)
		if f.Source == api.FromEnvironment {
			from += " " + f.Variable
		}
		t.Row("--"+safetext.Escape(f.Name), safetext.Escape(cmp.Or(f.Value, "-")), safetext.Escape(from))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if l := cfg.LogLevel; l.Level != l.Configured {
		fmt.Fprintln(e.Out, "\n"+logLevelText(l))
	}
	for _, warning := range cfg.Warnings {
		e.note("note: %s", warning)
	}
	return nil
}

func logLevelCommand(e *env) *cobra.Command {
	var lasts flagvalue.Duration
	cmd := &cobra.Command{
		Use:   "log-level [debug|info|warn|error]",
		Short: "Show or set the level of the running reaper's log",
		Long: `Show the level of the lowest lines that this node's reaper logs, or set it
without a restart. With --for the level of --log-level returns after that time;
it always returns with the next reaper. Where the log is depends on what started
the reaper: the systemd journal, the pod's log, or reaper.log in the state
directory.`,
		Example: `  halfclose log-level
  halfclose log-level debug --for 10m
  halfclose log-level info`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)(cmd, args) != nil {
				return fmt.Errorf("want debug, info, warn or error, not %q", strings.Join(args, " "))
			}
			return nil
		},
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && lasts != 0 {
				return cmdline.AsUsage(errors.New("--for needs a level: debug, info, warn or error"))
			}
			return e.logLevel(cmd.Context(), args, time.Duration(lasts))
		},
	}
	cmd.Flags().Var(&lasts, "for", "return to the level of --log-level after `DURATION`, such as 10m")
	completeOneOf(cmd, "for", "10m", "1h")
	e.outputFlag(cmd)
	return cmd
}

// logLevel shows the level, or sets it if args has one.
func (e *env) logLevel(ctx context.Context, args []string, lasts time.Duration) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	var view api.LogLevelView
	if len(args) > 0 {
		view, err = client.SetLogLevel(ctx, api.LogLevelRequest{Level: args[0], For: api.Seconds(lasts), Who: e.who()})
	} else {
		var cfg api.Config
		cfg, err = client.Config(ctx)
		view = cfg.LogLevel
	}
	if err != nil {
		return err
	}
	if e.PrintsObject() {
		return e.PrintObject(view)
	}
	_, err = fmt.Fprintln(e.Out, logLevelText(view))
	return err
}

// logLevelText returns the level and when the configured one returns.
func logLevelText(l api.LogLevelView) string {
	text := "Log level  " + l.Level
	if l.Level == l.Configured {
		return safetext.Escape(text)
	}
	if l.Who != "" {
		text += ", set by " + l.Who
	}
	until := " until the reaper exits"
	if !l.Until.IsZero() {
		until = " until " + l.Until.Local().Format(time.RFC3339)
	}
	return safetext.Escape(text + until + ", then " + l.Configured)
}
