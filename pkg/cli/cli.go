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
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// env is the environment of the commands.
type env struct {
	printer.Printer // of stdout

	err      io.Writer
	more     []*cobra.Command // commands from other packages
	stateDir string
	notes    sync.Mutex // held while a note is written
}

// Main runs the command line, with more commands from other packages, and returns the exit code. These commands find the
// state directory in the flag --state-dir.
func Main(args []string, stdout, stderr io.Writer, more ...*cobra.Command) int {
	if verb := os.Getenv("CNI_COMMAND"); verb != "" && len(args) == 0 {
		return refuseCall(verb, stdout, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, args, &env{Printer: printer.Printer{Out: stdout, Getenv: os.Getenv}, err: stderr, more: more})
}

// Command returns the command line as [Main] runs it, for documents that are generated from it.
func Command(more ...*cobra.Command) *cobra.Command {
	return rootCommand(&env{
		Printer: printer.Printer{Out: io.Discard, Getenv: func(string) string { return "" }}, err: io.Discard, more: more,
	})
}

// run runs one command.
func run(ctx context.Context, args []string, e *env) int {
	root := rootCommand(e) //nolint:contextcheck // each command gets its context from ExecuteContextC
	err := cmdline.Execute(ctx, root, args, e.check)
	if err != nil {
		e.note("%s%s%s", strings.ReplaceAll(err.Error(), "\n", "; "), asRoot(err, os.Geteuid()), e.asStart(err, systemdDirs()))
	}
	return cmdline.ExitCode(err)
}

// asRoot returns advice for a permission error of a user other than root.
func asRoot(err error, uid int) string {
	if uid == 0 || !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return " (run this as root)"
}

// note prints one line on stderr, with names from pods escaped. It waits for at most 1 s: a full pipe must not keep the
// process from exiting.
func (e *env) note(format string, args ...any) {
	text := safetext.Escape(fmt.Sprintf(format, args...))
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.notes.Lock() // a client's remark that it waits comes from another goroutine
		defer e.notes.Unlock()
		fmt.Fprintf(e.err, "halfclose: %s\n", text)
	}()
	timeout := time.NewTimer(time.Second)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "halfclose",
		Short: "Destroys TCP sockets that stay half-closed past their grace, per container",
		Long: `halfclose destroys TCP sockets that stay half-closed (CLOSE_WAIT, FIN_WAIT2)
past their grace, in the network namespaces of this node's containers.

The CNI plugin, chained behind a main plugin, records the network namespace and
the policy of each container. The reaper (one per node) finds and destroys
sockets; the other commands query it.

Exit codes: 0 success; 1 failure, which includes a pod, socket or file that is
not found or not valid; 2 a mistake in the command line.`,
		Example: `  halfclose status                 # which pods leak, and how many sockets
  halfclose sockets --owners       # which processes leak, and each verdict
  halfclose history --since 10m    # destroyed sockets
  halfclose mode observe           # stop destroying now`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildinfo.Get().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(e.Out)
	root.SetErr(e.err)
	root.PersistentFlags().StringVar(&e.stateDir, "state-dir", state.DirFromEnv(e.Getenv),
		"state `dir` of plugin and reaper (HALFCLOSE_STATE_DIR)")
	root.AddCommand(
		statusCommand(e), leaksCommand(e), explainCommand(e), socketsCommand(e), historyCommand(e), modeCommand(e),
		topCommand(e), simulateCommand(e), policyCommand(e), registerCommand(e), unregisterCommand(e), adoptCommand(e), doctorCommand(e),
		installCommand(e), uninstallCommand(e), seccompCommand(e),
		healthCommand(e), versionCommand(e), configCommand(e), logLevelCommand(e), reportCommand(e),
	)
	root.AddCommand(e.more...)
	completePaths(root)
	adaptCobra(root)
	return root
}

// adaptCobra fits the help to 80 columns, and makes unknown arguments of cobra's own commands usage errors: cobra prints
// their help with exit code 0.
func adaptCobra(root *cobra.Command) {
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", term.UsualWidth)))
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Usage = "print the version"
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				_, _, err := root.Find(args)
				return err
			}
		case "completion":
			cmd.Short = "Generate the shell completion script"
			cmd.RunE = func(*cobra.Command, []string) error {
				return cmdline.AsUsage(errors.New("want a shell: bash, zsh, fish or powershell"))
			}
			for _, shell := range cmd.Commands() {
				if shell.Name() == "bash" {
					adaptBash(shell)
				}
			}
		}
	}
}

// check validates the common flags.
func (e *env) check() error {
	if err := e.checkOutput(); err != nil {
		return err
	}
	if e.stateDir == "" {
		return cmdline.AsUsage(fmt.Errorf("--state-dir is empty: want a directory such as %s", state.DefaultDir))
	}
	dir, err := filepath.Abs(e.stateDir) // the reaper has another working directory
	e.stateDir = dir
	return err
}

func (e *env) store() *state.Store { return state.New(e.stateDir) }

// client returns a client of the reaper with this state directory.
func (e *env) client() (*admin.Client, error) {
	if err := e.checkStateDir(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(e.stateDir); err == nil && !info.IsDir() {
		return nil, cmdline.AsUsage(fmt.Errorf("--state-dir %s is not a directory", e.stateDir))
	}
	client := admin.NewClient(e.store().SocketPath())
	client.Waiting = func() { e.note("waiting for the reaper") }
	return client, nil
}

// checkStateDir reports a state directory whose path is too long for the reaper's socket.
func (e *env) checkStateDir() error {
	if err := launch.CheckStateDir(e.stateDir); err != nil {
		return cmdline.AsUsage(err)
	}
	return nil
}

// switchPath returns the file of this node's mode switch.
func (e *env) switchPath() string { return state.SwitchPath(e.stateDir) }
