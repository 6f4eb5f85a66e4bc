// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/install"
	"github.com/halfclose/halfclose/pkg/logging"
)

func installCommand(e *env) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the plugin into this node's CNI configuration",
		Long: `Install the plugin into the node's plugin directory, and add one entry to the
network that the container runtime chooses: the first by name that can be
loaded. Pods created from then on are registered.

The plugin is a separate program of the same build as this command. If the
entry has reaper auto (the default) and no reaper runs, the plugin's ADD starts
halfclose-reaper in the plugin directory: a symbolic link to this command, or a
copy of it with --copy or below --host-root. ADD refuses to start it unless the
file and each directory above it belong to root and only root can write to
them; install warns in that case. With --reaper external only the plugin is
installed, and an existing halfclose-reaper stays.

Only the entry changes; the rest of the file stays as it is. An existing entry
is updated in place: it gets the values of these flags alone, so give all of
them each time. The diff is printed. Nothing is written if nothing would
change. install refuses an entry with mistakes, and a file that it cannot
parse. A .conf with a single plugin becomes a .conflist.

With --watch it keeps running, and restores the entry when another process
rewrites the file. If another tool keeps removing the entry, it is restored
with exponential backoff (up to five minutes), and this is logged once.

With --drop-in the entry goes into a drop-in file, and the network's file stays
unchanged. Only runtimes with libcni 1.3.0 or later load it: containerd from
2.1, CRI-O from 1.34. Others ignore it and register nothing. CRI-O runs DEL and
CHECK without drop-ins, so a record stays until the reaper prunes it.

With --upgrade it replaces the installed programs by those of this build, and
changes no network: the entry keeps its values.`,
		Example: `  halfclose install --mode observe --dry-run     # see what would change
  halfclose install --mode observe               # count leaks, destroy nothing
  halfclose install --probe-after 2m --exempt '[{"localPorts": "22"}]'
  halfclose install --rules '[{"match": {"role": "server"}, "grace": "never"}]'
  halfclose install --cni-bin-dir /usr/lib/cni   # Debian's podman
  halfclose install --copy     # if this command's directory is not root's
  halfclose install --config entry.json --wait 5m
  halfclose install --watch --reaper external --host-root /host`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.node.fromEnvironment(cmd.Flags(), e.Getenv)
			c, err := f.config(cmd.Flags())
			if err != nil {
				return err
			}
			mismatch, err := f.findPrograms(cmd.Context(), &c)
			if err != nil {
				return err
			}
			if mismatch != "" {
				e.note("warning: %s", mismatch)
			}
			if f.upgrade {
				programs, err := install.Upgrade(cmd.Context(), c)
				if err != nil {
					return err
				}
				return e.printPrograms(c, programs)
			}
			if f.watch {
				return e.watchInstall(cmd.Context(), c, f.logFormat)
			}
			c.OnWait = func(reason error) { e.note("waiting for a network for up to %v: %v", c.Wait, reason) }
			r, err := install.Install(cmd.Context(), c)
			if err != nil {
				return installError(err)
			}
			return e.printInstall(c, r)
		},
	}
	f.add(cmd)
	e.outputFlag(cmd)
	return cmd
}

// installError adds a remedy to an error of an installation.
func installError(err error) error {
	if errors.Is(err, install.ErrNoNetwork) {
		return fmt.Errorf("%w: the network plugin writes it when it starts: run this again then, or with --wait 5m", err)
	}
	return err
}

// watchInstall installs and watches until ctx ends. It prints the first result, and logs every event.
func (e *env) watchInstall(ctx context.Context, c install.Config, format string) error {
	log, closer, err := logging.New(logging.Options{Level: slog.LevelInfo, Format: format, Stderr: e.err})
	if err != nil {
		return err
	}
	defer closer.Close()
	var printed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = install.Watch(ctx, c, func(event install.Event) {
		if event.Kind == install.Installed {
			if printed = e.printInstall(c, event.Result); printed != nil {
				cancel()
			}
		}
		logInstall(log, event)
	})
	return errors.Join(err, printed)
}

func logInstall(log *slog.Logger, event install.Event) {
	r := event.Result
	switch event.Kind {
	case install.Installed:
		log.Info("installed; watching the entry", "network", r.Network, "file", r.File)
	case install.Restored:
		if r.File == "" {
			for _, p := range []*install.Program{r.Reaper, &r.Plugin} {
				if p != nil && p.Changed {
					log.Warn("restored a missing program", "path", p.Path)
				}
			}
			return
		}
		log.Info("restored the missing entry", "network", r.Network, "file", r.File)
	case install.Contested:
		log.Warn("another tool keeps removing the entry: backing off, up to five minutes; "+
			"find the tool, and configure it to keep chained plugins (Cilium: cni.exclusive=false)", "file", r.File)
	case install.Uncontested:
		log.Info("the entry has stayed for ten minutes")
	case install.Waiting:
		log.Info("waiting for a network to extend", "reason", event.Err)
	case install.Failed:
		log.Error("cannot install the entry; will retry", "error", event.Err)
	case install.Polling:
		log.Warn("the kernel reports no changes of the directories: reading them every second", "error", event.Err)
	}
}
