// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is halfclose's command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/state"
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
	stateDir string
	output   string
}

// Main runs the command line and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, args, &env{out: stdout, err: stderr, getenv: os.Getenv})
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
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitSuccess
	case !began:
		oneLine := strings.Join(strings.Fields(err.Error()), " ") // a suggestion has lines of its own
		fmt.Fprintf(e.err, "halfclose: %s (see \"halfclose --help\")\n", oneLine)
		return exitUsage
	}
	fmt.Fprintf(e.err, "halfclose: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

// usageError is a value that a command cannot work with.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "halfclose",
		Short: "Destroys TCP sockets that stay half-closed past their grace, per container",
		Long: `halfclose destroys TCP sockets that stay half-closed (CLOSE_WAIT, FIN_WAIT2) past
their grace, in the network namespaces of this node's containers.

As a CNI plugin, chained behind a main plugin, it records each container's
namespace and policy. The reaper, one per node, does the work; the other commands
ask it what it does.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&e.stateDir, "state-dir", state.DirFromEnv(e.getenv),
		"where plugin and reaper keep their state (HALFCLOSE_STATE_DIR)")
	root.AddCommand(reaperCommand(e), statusCommand(e), socketsCommand(e), versionCommand(e))
	return root
}

// outputFlag adds --output to a command that prints.
func (e *env) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.output, "output", "o", "table", "how to print: table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// check checks the flags that many commands have.
func (e *env) check() error {
	switch e.output {
	case "", "table", "json":
	default:
		return usageError{fmt.Errorf("--output is table or json, not %q", e.output)}
	}
	if e.stateDir == "" {
		return usageError{fmt.Errorf("--state-dir is a directory, such as %s, not empty", state.DefaultDir)}
	}
	dir, err := filepath.Abs(e.stateDir) // the reaper's own may change
	e.stateDir = dir
	return err
}

func (e *env) store() *state.Store { return state.New(e.stateDir) }

func (e *env) client() *admin.Client { return admin.NewClient(e.store().SocketPath()) }

// switchPath is where this node's mode switch is kept: beside the rest of the state, where that is not in
// its usual place.
func (e *env) switchPath(cmd *cobra.Command) string {
	return state.SwitchPath(func(name string) string {
		switch {
		case name != state.EnvDir || !cmd.Flags().Changed("state-dir"):
			return e.getenv(name)
		case e.stateDir == state.DefaultDir:
			return ""
		}
		return e.stateDir
	})
}
