// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/top"
)

func topCommand(e *env) *cobra.Command {
	interval := 2 * time.Second
	var sort, namespace string
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the pods that leak half-closed sockets, on a full screen",
		Long: `Watch this node on a full screen: the pods with the most or the oldest
half-closed sockets first, their ages, the rate of destroys, the mode and its
caps. On a screen of 150 columns or more the selected pod's verdicts, owners and
peers are beside the list.

  1 2 3 4, Tab     pods; leaks; history; problems and what to do
  Enter, Esc       show the sockets of a pod with their owners; return
  /, n             show only rows with some words; one Kubernetes namespace
  s, r             sort by the next column; reverse the order
  ↑ ↓ j k g G      move; page up and down, home and end too
  m                stop destroying on the node, in a namespace or for a pod, or
                   allow it again; asks for a reason and a confirmation
  p or space       pause
  ?                all keys, and what the columns and signs mean
  q                quit

In the histogram a solid bar is sockets past their grace that still exist: kept,
only observed, or queued for the rate limit.`,
		Example: `  halfclose top
  halfclose top --namespace shop --sort age
  halfclose top --once    # print one frame, for a bug report`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < top.MinInterval {
				return cmdline.AsUsage(fmt.Errorf("--interval is at least %v, not %v", top.MinInterval, interval))
			}
			if !slices.Contains(top.Orders(), sort) {
				return cmdline.AsUsage(fmt.Errorf("--sort is one of %s, not %q", strings.Join(top.Orders(), ", "), sort))
			}
			cfg := top.Config{Interval: interval, Sort: sort, Namespace: namespace, Now: e.Clock}
			if once {
				cfg.Interval = 0
				return e.topOnce(cmd.Context(), cfg)
			}
			return e.topOn(cmd.Context(), cfg)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", interval, "time between two updates, at least 250ms")
	cmd.Flags().StringVar(&sort, "sort", "count", "sort order: "+strings.Join(top.Orders(), ", "))
	completeOneOf(cmd, "sort", top.Orders()...)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "show only pods in this Kubernetes `NAMESPACE`")
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.namespaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().BoolVar(&once, "once", false, "print one frame with every pod, without a full screen")
	return cmd
}

// openTop opens the view. The reaper must answer.
func (e *env) openTop(ctx context.Context, cfg top.Config) (*top.View, error) {
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	cfg.Source = client
	cfg.SetMode = func(ctx context.Context, r api.ModeRequest) error {
		r.Who = e.who()
		return e.storeMode(ctx, client, r)
	}
	view, err := top.Open(ctx, cfg)
	client.Waiting = nil // from now on, the full screen shows that
	return view, err
}

// topOnce prints one frame with every pod.
func (e *env) topOnce(ctx context.Context, cfg top.Config) error {
	view, err := e.openTop(ctx, cfg)
	if err != nil {
		return err
	}
	return view.Print(e.Out, e.Screen().Width)
}

// topOn shows top on the terminal of stdin and stdout.
func (e *env) topOn(ctx context.Context, cfg top.Config) error {
	out, ok := e.Out.(*os.File)
	switch {
	case !ok || !term.IsTerminal(int(out.Fd())):
		return cmdline.AsUsage(errors.New("stdout is not a terminal: use --once to print one frame"))
	case !term.IsTerminal(int(os.Stdin.Fd())):
		return cmdline.AsUsage(errors.New("stdin is not a terminal, so no key can quit: use --once to print one frame"))
	case e.Getenv("TERM") == "dumb":
		return cmdline.AsUsage(errors.New("TERM is dumb, which cannot show a full screen: use --once to print one frame"))
	}
	view, err := e.openTop(ctx, cfg)
	if err != nil {
		return err
	}
	return view.Run(ctx, os.Stdin, out, e.Screen())
}

// storeMode sets a switch through the reaper. If none is running or it does not answer, it writes the file itself.
func (e *env) storeMode(ctx context.Context, client *admin.Client, r api.ModeRequest) error {
	_, err := client.SetMode(ctx, r)
	stuck := errors.Is(err, admin.ErrNoAnswer)
	if !stuck && !errors.Is(err, admin.ErrNotRunning) {
		return err
	}
	sw := state.Switch{Scope: r.Scope, Mode: r.Mode, Who: r.Who, When: time.Now().UTC().Truncate(time.Second), Reason: r.Reason}
	if err := state.StoreSwitch(e.switchPath(), sw); err != nil {
		return err
	}
	if stuck {
		return fmt.Errorf("the switch is set to %v for every reaper that reads it, but %w", r.Mode, err)
	}
	return nil
}
