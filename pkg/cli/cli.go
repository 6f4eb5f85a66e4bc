// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is halfclose's command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// The exit codes.
const (
	exitSuccess = 0
	exitFailure = 1
	exitUsage   = 2
)

// env is what the commands know of the world.
type env struct {
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time // in the time zone that times are shown in; nil is that of this machine
	more     []*cobra.Command // commands that other packages provide
	stateDir string
	output   string
}

// Main runs the command line, with the commands that other packages provide beside its own, and returns the exit
// code. Such a command finds the state directory in the flag --state-dir, and its mistakes in usage have a method
// IsUsageError.
func Main(args []string, stdout, stderr io.Writer, more ...*cobra.Command) int {
	if verb := os.Getenv("CNI_COMMAND"); verb != "" && len(args) == 0 {
		return refuseCall(verb, stdout, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, args, &env{out: stdout, err: stderr, getenv: os.Getenv, more: more})
}

// run runs one command. What fails before a command begins is a mistake in its usage.
func run(ctx context.Context, args []string, e *env) int {
	root := rootCommand(e) //nolint:contextcheck // each command takes the context that it is executed with
	began := false
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if err := e.check(); err != nil {
			return err
		}
		began = true
		return nil
	}
	root.SetArgs(args)
	root.SetOut(e.out)
	root.SetErr(e.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitSuccess
	}
	if !began {
		e.note("%s (see \"%s --help\")", strings.Join(strings.Fields(err.Error()), " "), cmd.CommandPath()) // a suggestion has lines of its own
		return exitUsage
	}
	e.note("%s%s", strings.ReplaceAll(err.Error(), "\n", "; "), asRoot(err, os.Geteuid()))
	if u, ok := errors.AsType[interface {
		error
		IsUsageError() bool
	}](err); ok && u.IsUsageError() {
		return exitUsage
	}
	return exitFailure
}

// asRoot says what to do about an error of somebody who may not do what only root may.
func asRoot(err error, uid int) string {
	if uid == 0 || !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return " (run this as root)"
}

// note says something to whoever runs the command, in one line on stderr. What it says may hold names from
// outside.
func (e *env) note(format string, args ...any) {
	e.say("halfclose: %s\n", term.Clean(fmt.Sprintf(format, args...)))
}

// say prints on stderr. It waits for a moment only for somebody to take it: the process is about to end.
func (e *env) say(format string, args ...any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fmt.Fprintf(e.err, format, args...)
	}()
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// usageError is a value that a command cannot work with.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// IsUsageError reports that the exit code is that of a mistake in usage.
func (e usageError) IsUsageError() bool { return true }

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "halfclose",
		Short: "Destroys TCP sockets that stay half-closed past their grace, per container",
		Long: `halfclose destroys TCP sockets that stay half-closed (CLOSE_WAIT, FIN_WAIT2) past
their grace, in the network namespaces of this node's containers.

As a CNI plugin, chained behind a main plugin, it records each container's
namespace and policy. The reaper, one per node, does the work; the other commands
ask it what it does.`,
		Example: `  halfclose status                 # which pods leak, and what is done about it
  halfclose sockets --owners       # which processes, and why a socket is spared
  halfclose history --since 10m    # what was destroyed
  halfclose mode observe           # stop destroying, now`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&e.stateDir, "state-dir", state.DirFromEnv(e.getenv),
		"the `dir` where plugin and reaper keep their state (HALFCLOSE_STATE_DIR)")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetUsageFunc(usage)
	root.SetHelpFunc(help)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(
		statusCommand(e), socketsCommand(e), historyCommand(e), modeCommand(e),
		topCommand(e), registerCommand(e), unregisterCommand(e), doctorCommand(e),
		installCommand(e), uninstallCommand(e),
		healthCommand(e), completionCommand(e), versionCommand(e),
	)
	root.AddCommand(e.more...)
	completePaths(root)
	return root
}

// check checks the flags that many commands have.
func (e *env) check() error {
	if err := e.checkOutput(); err != nil {
		return err
	}
	if e.stateDir == "" {
		return usageError{fmt.Errorf("--state-dir is a directory, such as %s, not empty", state.DefaultDir)}
	}
	dir, err := filepath.Abs(e.stateDir) // the reaper's own may change
	e.stateDir = dir
	return err
}

func (e *env) store() *state.Store { return state.New(e.stateDir) }

// client returns what asks the reaper of the state directory.
func (e *env) client() (*admin.Client, error) {
	if err := e.checkStateDir(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(e.stateDir); err == nil && !info.IsDir() {
		return nil, usageError{fmt.Errorf("--state-dir is the directory that the reaper works on, and %s is none", e.stateDir)}
	}
	return admin.NewClient(e.store().SocketPath()), nil
}

// checkStateDir is for the commands that need the reaper's socket.
func (e *env) checkStateDir() error {
	if err := launch.CheckStateDir(e.stateDir); err != nil {
		return usageError{err}
	}
	return nil
}

// switchPath is where this node's mode switch is kept.
func (e *env) switchPath() string { return state.SwitchPath(e.stateDir) }
