// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/install"
)

func uninstallCommand(e *env) *cobra.Command {
	var (
		f             nodeFlags
		binary, force bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the plugin from this node's CNI configuration",
		Long: `Remove the plugin's entry from every network in the directory. Pods created
from then on are not registered. Registered pods stay registered until they are
deleted, and the reaper keeps running: stop it too, or switch it with halfclose
mode observe.

The plugin itself stays, because runtimes still call it for existing pods:
CRI-O and podman run DEL from a cached configuration that lists it. Without the
plugin they leak the pod's IP address. --remove-binary also removes the plugin
and halfclose-reaper, on a node without such pods; it refuses while libcni's
result cache lists halfclose. --force removes them anyway: containerd does not
use the cached configuration.

Stop halfclose install --watch first, or it restores the entry.`,
		Example: `  halfclose uninstall --dry-run         # show the changes
  halfclose uninstall
  halfclose uninstall --remove-binary   # on a drained node
  halfclose uninstall --host-root /host # in a container with the host at /host`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.fromEnvironment(cmd.Flags(), e.Getenv)
			c, err := f.config(cmd.Flags())
			if err != nil {
				return err
			}
			programs := install.KeepPrograms
			switch {
			case force && !binary:
				return cmdline.AsUsage(errors.New("--force needs --remove-binary"))
			case force:
				programs = install.RemovePrograms
			case binary:
				programs = install.RemoveUnusedPrograms
			}
			return e.uninstall(cmd.Context(), c, programs)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&binary, "remove-binary", false, "also remove the plugin and halfclose-reaper, unless the result cache of a runtime lists the plugin")
	cmd.Flags().BoolVar(&force, "force", false, "with --remove-binary: remove them even if a result cache lists the plugin")
	e.outputFlag(cmd)
	return cmd
}

func (e *env) uninstall(ctx context.Context, c install.Config, programs install.ProgramRemoval) error {
	r, err := install.Uninstall(ctx, c, programs)
	if err != nil {
		for _, w := range r.Warnings {
			e.note("warning: %s", w)
		}
		return err
	}
	if err := e.printRemoval(c, r); err != nil {
		return err
	}
	if len(r.Files) == 0 || c.DryRun {
		return nil
	}
	return checkRemoved(ctx, c)
}

// restoreTime is how soon a watch restores a removed entry.
const restoreTime = time.Second

// checkRemoved returns an error if another process has restored the entry.
func checkRemoved(ctx context.Context, c install.Config) error {
	wait := time.NewTimer(restoreTime)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
	}
	c.DryRun = true
	r, err := install.Uninstall(ctx, c, install.KeepPrograms)
	if err != nil {
		return err
	}
	if len(r.Files) > 0 {
		return fmt.Errorf("%s has the entry again: stop the process that restores it (halfclose install --watch, such as the DaemonSet's), and run this again", r.Files[0].File)
	}
	return nil
}
