// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

// stateDirFlag is the flag of the state directory, a persistent flag of the root command.
const stateDirFlag = "state-dir"

// autoIdleExit is Config.IdleExit of a reaper that the plugin started, unless a flag has another.
const autoIdleExit = 5 * time.Minute

// Environment is what Command takes from its process. The zero value is the process itself.
type Environment struct {
	Getenv  func(name string) string          // nil is os.Getenv
	Environ func() []string                   // nil is os.Environ
	Syslog  func(message string, args ...any) // writes a warning to the system log; nil is systemlog.Log
}

// Command returns the command "reaper" for a command line with a flag --state-dir.
func Command(env Environment) *cobra.Command {
	if env.Getenv == nil {
		env.Getenv = os.Getenv
	}
	if env.Environ == nil {
		env.Environ = os.Environ
	}
	if env.Syslog == nil {
		env.Syslog = systemlog.Log{}.Warn
	}
	c := command{Environment: env}
	cmd := &cobra.Command{
		Use:   "reaper",
		Short: "Run the reaper, which finds and destroys half-closed sockets",
		Long: `Run the reaper. It watches the attachments that the CNI plugin records and
finds half-closed sockets in their network namespaces. Once the grace of a
socket is over, the reaper looks the socket up again, and destroys it if the
socket is still half-closed and idle.

A state directory has one reaper. A reaper that the CNI plugin started hands
over to one that is started by hand or by systemd. Every flag has an environment
variable: --min-grace is HALFCLOSE_MIN_GRACE. SIGTERM stops the reaper, which
saves the ages of sockets for the next one. SIGHUP reloads the records, the
policy file and the mode switch.

The policy file changes the policies of running pods: a change in it takes
effect within a second. Without the file at its default path there is none. If
it has a mistake, or was deleted, its last good content stays in force.

The reaper needs CAP_SYS_ADMIN to enter network namespaces (and for the bpf
finder), CAP_NET_ADMIN to destroy sockets, CAP_SYS_PTRACE for paths such as
/proc/PID/ns/net, and CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH to find the owners
of sockets.`,
		Example: `  halfclose reaper --mode observe    # report what would be destroyed
  halfclose reaper --max-destroys-per-second 100 --log-format json
  halfclose reaper --metrics-address 127.0.0.1:20470`,
		Args: func(cmd *cobra.Command, args []string) error { return c.traced(cmd, cobra.NoArgs(cmd, args)) },
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			// cobra runs this instead of the root command's check of the persistent flags.
			if check := cmd.Root().PersistentPreRunE; check != nil && cmd.HasParent() {
				return c.traced(cmd, check(cmd, args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.daemon(cmd)
			if err != nil {
				return c.traced(cmd, err)
			}
			defer d.Close()
			return d.Run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(c.traced)
	c.cfg.addFlags(cmd.Flags())
	for _, flag := range []string{"cni-cache", "adopt-netns"} {
		_ = cobra.MarkFlagDirname(cmd.Flags(), flag) // the flag exists
	}
	for flag, words := range map[string][]string{
		"mode": {"destroy", "observe", "off"}, "finder": finder.Names(), "log-level": {"debug", "info", "warn", "error"}, "log-format": {logging.Text, logging.JSON},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	}
	_ = cmd.MarkFlagFilename("policy-file", "yaml", "yml") // the flag exists
	return cmd
}

// command is one call of the reaper command.
type command struct {
	Environment
	cfg Config
}

// traced returns err, with which the process exits before it has a log. If the plugin started the process, stderr has no
// reader: traced writes the error to the system log and to the log's file.
func (c *command) traced(cmd *cobra.Command, err error) error {
	if err == nil || !c.cfg.Auto {
		return err
	}
	dir, _ := cmd.Flags().GetString(stateDirFlag) // the flag's value may be the mistake
	c.Syslog("reaper exits", "error", err, "state_dir", dir)
	if filepath.IsAbs(dir) && state.CheckDir(dir) == nil {
		_ = logging.Trace(state.New(dir).LogPath(), "reaper exits", "error", err) // the directory may be the mistake
	}
	return err
}

// daemon completes the configuration from the environment, checks it, and creates the daemon.
func (c *command) daemon(cmd *cobra.Command) (*Daemon, error) {
	given := changedFlags(cmd.Flags())
	if err := fromEnvironment(cmd.Flags(), c.Getenv); err != nil {
		return nil, err
	}
	if err := c.cfg.checkFlags(); err != nil {
		return nil, err
	}
	c.cfg.UnknownVariables = unknownVariables(cmd.Flags(), c.Environ())
	c.cfg.PolicyFileNamed = cmd.Flags().Changed("policy-file") // on the command line or in the environment
	if c.cfg.Auto && !cmd.Flags().Changed("idle-exit") {
		c.cfg.IdleExit = autoIdleExit
	}
	dir, err := cmd.Flags().GetString(stateDirFlag)
	if err != nil {
		return nil, err
	}
	if c.cfg.StateDir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("make the state directory's path absolute: %w", err)
	}
	c.cfg.SwitchPath = state.SwitchPath(c.cfg.StateDir)
	c.cfg.Flags = c.flags(cmd.Flags(), given)
	c.cfg.ServiceManager, c.cfg.Stderr = c.Getenv("INVOCATION_ID") != "", cmd.ErrOrStderr()
	return New(c.cfg)
}
