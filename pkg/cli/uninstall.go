// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/install"
)

func uninstallCommand(e *env) *cobra.Command {
	var (
		f      nodeFlags
		binary bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the plugin out of this node's CNI configuration",
		Long: `Take the plugin's entry out of every network in the directory. Pods that are made
from then on are not registered; those that are registered stay so until they end,
and the reaper works on: stop it too, or switch it with halfclose mode observe.

The plugin is left. Runtimes call it for pods that they made while it was listed:
CRI-O and podman from a configuration that they have kept, for as long as those pods
live. Without it such a pod cannot be deleted. With --remove-binary it goes too, and
then halfclose-reaper beside it, which is for a node whose pods are all gone or new.

Stop halfclose install --watch first: it would put the entry back.`,
		Example: `  halfclose uninstall --dry-run         # see what would change
  halfclose uninstall
  halfclose uninstall --remove-binary   # on a node that was drained
  halfclose uninstall --host-root /host # in a container that has it there`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.fromEnvironment(cmd.Flags(), e.getenv)
			c, err := f.config(cmd.Flags())
			if err != nil {
				return err
			}
			return e.uninstall(cmd.Context(), c, binary)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&binary, "remove-binary", false, "remove the plugin and halfclose-reaper too; pods that were created with the plugin may still need it")
	e.outputFlag(cmd)
	return cmd
}

func (e *env) uninstall(ctx context.Context, c install.Config, binary bool) error {
	r, err := install.Uninstall(ctx, c, binary)
	if err != nil {
		return err
	}
	if err := e.printRemoval(c, r); err != nil {
		return err
	}
	if r.Plugin.Changed && !c.DryRun {
		e.note("warning: pods that were made while the plugin was listed may need it to be deleted: if one hangs, run halfclose install and uninstall again")
	}
	if len(r.Files) == 0 || c.DryRun {
		return nil
	}
	return stillOut(ctx, c)
}

// putBackTime is how soon a watch puts back what is taken out.
const putBackTime = time.Second

// stillOut says that somebody has put the entry back.
func stillOut(ctx context.Context, c install.Config) error {
	wait := time.NewTimer(putBackTime)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
	}
	c.DryRun = true
	r, err := install.Uninstall(ctx, c, false)
	if err != nil {
		return err
	}
	if len(r.Files) > 0 {
		return fmt.Errorf("%s has the entry again: stop what puts it back (halfclose install --watch, such as the DaemonSet's), and run this again", r.Files[0].File)
	}
	return nil
}
