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
		Short: "Put the plugin into this node's CNI configuration",
		Long: `Put the plugin among the node's CNI plugins, and one entry into the network that
the container runtime chooses: the first by name that can be loaded. Pods that are
made from then on are registered.

The plugin is a program of its own, of the same build as this command. Where the
entry says reaper auto, which is the default, its ADD starts halfclose-reaper in the
plugin's directory when no reaper runs: a symbolic link to this command, or a copy
of it with --copy and below --host-root. ADD does not start it unless the file and
each directory on the way are root's and writable by root alone; install warns if
that is not so. With --reaper external only the plugin is installed, and a
halfclose-reaper from before is left.

Only the entry changes: the rest of the file stays as it is written. An entry that is
there already is brought up to date where it stands; where nothing would change,
nothing is written. What the plugin would complain of is refused, and so is a file
that is not understood. A .conf of a single plugin becomes a .conflist.

With --watch it stays, and puts the entry back when somebody rewrites the file. It
does not fight: what takes the entry out each time is told in the log, and the
entry is put back at growing intervals, in the end every five minutes.

With --drop-in the entry goes into a file of its own, which leaves the network's
file alone. Only runtimes with libcni 1.3.0 or later load it: containerd from 2.1,
CRI-O from 1.34. Others ignore it, and register nothing.`,
		Example: `  halfclose install --mode observe --dry-run     # see what would change
  halfclose install --mode observe               # account, destroy nothing
  halfclose install --probe-after 2m --exempt '[{"localPorts": "22"}]'
  halfclose install --rules '[{"match": {"role": "server"}, "grace": "never"}]'
  halfclose install --cni-bin-dir /usr/lib/cni   # Debian's podman
  halfclose install --copy     # where this command's directory is not root's
  halfclose install --config entry.json --wait 5m
  halfclose install --watch --reaper external --host-root /host`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.node.fromEnvironment(cmd.Flags(), e.getenv)
			c, err := f.config(cmd.Flags())
			if err != nil {
				return err
			}
			other, err := f.programs(cmd.Context(), &c)
			if err != nil {
				return err
			}
			if other != "" {
				e.note("warning: %s", other)
			}
			if f.watch {
				return e.watchInstall(cmd.Context(), c, f.logFormat)
			}
			c.OnWait = func(why error) { e.note("waiting for a network for up to %v: %v", c.Wait, why) }
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

// installError says what to do about an error of an installation.
func installError(err error) error {
	if errors.Is(err, install.ErrNoNetwork) {
		return fmt.Errorf("%w: the network plugin writes it when it starts: run this again then, or with --wait 5m", err)
	}
	return err
}

// watchInstall installs and stays. It prints the first result, and logs what happens.
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

// logInstall logs what happens while an installation is watched.
func logInstall(log *slog.Logger, event install.Event) {
	r := event.Result
	switch event.Kind {
	case install.Installed:
		log.Info("installed: it stays so from now on", "network", r.Network, "file", r.File)
	case install.PutBack:
		if r.File == "" {
			for _, p := range []*install.Program{r.Reaper, &r.Plugin} {
				if p != nil && p.Changed {
					log.Warn("a program was gone, and is put back", "path", p.Path)
				}
			}
			return
		}
		log.Info("the entry was gone, and is put back", "network", r.Network, "file", r.File)
	case install.Contested:
		log.Warn("somebody takes the entry out each time it is put back: it is put back at growing intervals, at most every five minutes; "+
			"find what else writes the file, and let it keep what others chain (Cilium: cni.exclusive=false)", "file", r.File)
	case install.Calm:
		log.Info("nobody has taken the entry out for ten minutes")
	case install.Waiting:
		log.Info("waiting for a network to extend", "because", event.Err)
	case install.Failed:
		log.Error("the entry is not as it should be; it is tried again", "error", event.Err)
	case install.Polling:
		log.Warn("changes of the directories are not announced: they are read every second", "error", event.Err)
	}
}
