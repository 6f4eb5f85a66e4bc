// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package plugin is the command line of kubectl halfclose.
package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/cluster/kube"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// exitPartial is the exit code if some nodes did not answer, or did not obey. The others are those of package cmdline.
const exitPartial = 3

// Cluster is the part of a cluster that the commands need. *kube.Cluster implements it.
type Cluster interface {
	fleet.Executor
	Agents(ctx context.Context, s kube.Selection) (kube.Found, error)
	PodNode(ctx context.Context, namespace, name string) (string, error)
	HasNamespace(ctx context.Context, name string) bool
	User(ctx context.Context) (string, error)
	Pods(ctx context.Context, namespace string) ([]string, error)
	Namespaces(ctx context.Context) ([]string, error)
	Nodes(ctx context.Context) ([]string, error)
}

// env is the environment of the commands.
type env struct {
	in       io.Reader
	err      io.Writer
	printer  printer.Printer
	build    buildinfo.Info
	config   *genericclioptions.ConfigFlags
	connect  func() (Cluster, error)
	terminal func(any) bool // whether a stream is a terminal

	selection kube.Selection
	all       bool // --all-namespaces
	timeout   time.Duration
	parallel  int
	pod       string // --pod

	notes sync.Mutex // held while stderr is written
}

// Main runs the command line and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{
		in: stdin, err: stderr, printer: printer.Printer{Out: stdout, Nodes: true}, build: buildinfo.Get(),
		config: genericclioptions.NewConfigFlags(true), terminal: isTerminal,
	}
	e.connect = func() (Cluster, error) {
		config, err := e.config.ToRESTConfig()
		if err != nil {
			return nil, err
		}
		return kube.New(config)
	}
	return run(ctx, args, e)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	return term.ScreenOf(stream, func(string) string { return "" }).Width > 0
}

// partialError is the error of an answer that lacks some nodes.
type partialError struct{ error }

func (e partialError) Unwrap() error { return e.error }

// run runs one command.
func run(ctx context.Context, args []string, e *env) int {
	root := rootCommand(e) //nolint:contextcheck // each command gets its context from ExecuteContextC
	err := cmdline.Execute(ctx, root, args, e.check)
	if err != nil {
		e.note("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if _, ok := errors.AsType[partialError](err); ok {
		return exitPartial
	}
	return cmdline.ExitCode(err)
}

// note prints one line on stderr, with names from nodes escaped.
func (e *env) note(format string, args ...any) {
	e.notes.Lock()
	defer e.notes.Unlock()
	fmt.Fprintf(e.err, "kubectl-halfclose: %s\n", safetext.Escape(fmt.Sprintf(format, args...)))
}

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-halfclose",
		Short: "Query and control halfclose on all nodes of a cluster",
		Long: `Query and control halfclose on all nodes of a cluster at once. Each command runs
"halfclose" in the pods of its DaemonSet, and merges their answers.

-n selects the pods whose sockets are listed; without it, those of all
namespaces are. --daemonset-namespace names the namespace of halfclose itself.

Nodes that do not answer within --timeout are named on stderr, and with -o json
in the field "nodes".

Exit codes: 0 success; 1 failure; 2 a mistake in the command line; 3 the answer
is partial, or a mode did not take effect everywhere: some nodes are missing.`,
		Example: `  kubectl halfclose leaks                       # which workloads leak
  kubectl halfclose status                      # each node, and what is wrong
  kubectl halfclose history --since 10m         # destroyed sockets
  kubectl halfclose mode observe                # stop destroying everywhere`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl halfclose"},
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       e.build.String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(e.printer.Out)
	root.SetErr(e.err)
	flags := root.PersistentFlags()
	e.config.AddFlags(flags)
	flags.Lookup("namespace").Usage = "only pods in this Kubernetes namespace"
	flags.BoolVarP(&e.all, "all-namespaces", "A", false, "pods in all namespaces (the default)")
	flags.StringVar(&e.selection.DaemonSetNamespace, "daemonset-namespace", "", "`NAMESPACE` of halfclose's DaemonSet (default: any)")
	flags.StringSliceVar(&e.selection.Nodes, "node", nil, "only this `NODE`; can be repeated")
	flags.StringVarP(&e.selection.NodeLabels, "selector", "l", "", "only nodes with these `LABELS`, such as pool=web")
	flags.DurationVar(&e.timeout, "timeout", defaultTimeout, "`TIME` for the answer of each node")
	flags.IntVar(&e.parallel, "parallel", defaultParallel, "ask `N` nodes at the same time")
	root.AddCommand(
		leaksCommand(e), statusCommand(e), socketsCommand(e), historyCommand(e), explainCommand(e), modeCommand(e),
	)
	e.completeCluster(root)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", term.UsualWidth)))
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Usage = "print the version"
	return root
}

const (
	defaultTimeout  = 10 * time.Second
	defaultParallel = 50
	maxParallel     = 1000
)

// check validates the common flags.
func (e *env) check() error {
	switch {
	case e.all && e.namespace() != "":
		return errors.New("--namespace and --all-namespaces exclude each other")
	case e.timeout <= 0:
		return fmt.Errorf("--timeout %v: want a time above 0, such as 10s", e.timeout)
	case e.parallel < 1 || e.parallel > maxParallel:
		return fmt.Errorf("--parallel %d: want a number from 1 to %d", e.parallel, maxParallel)
	}
	return printer.CheckFormat(e.printer.Format)
}

// namespace returns the value of --namespace. The namespace of the context does not count: sockets leak anywhere.
func (e *env) namespace() string { return *e.config.Namespace }

// tableFlags adds --output and --no-headers to a command.
func (e *env) tableFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.printer.Format, "output", "o", printer.Table, "output `format`: table, wide (one line per row), json or yaml")
	completeOneOf(cmd, "output", printer.Formats()...)
	cmd.Flags().BoolVar(&e.printer.NoHeaders, "no-headers", false, "print tables without their header")
}

// podFlag adds --pod to a command.
func (e *env) podFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&e.pod, "pod", "", usage+" of this `POD`: namespace/name, or a name with -n")
	_ = cmd.RegisterFlagCompletionFunc("pod", e.completePods) // the flag exists
}

// pods returns the query of --pod and --namespace.
func (e *env) pods() (api.PodQuery, error) {
	q := api.PodQuery{Namespace: e.namespace(), Pod: e.pod}
	if e.pod == "" {
		return q, nil
	}
	namespace, name, whole := strings.Cut(e.pod, "/")
	switch {
	case !whole && q.Namespace == "":
		return q, cmdline.AsUsage(fmt.Errorf("--pod %s: want namespace/name, or -n with the namespace", e.pod))
	case !whole:
		namespace, name = q.Namespace, e.pod
	case q.Namespace != "" && q.Namespace != namespace:
		return q, cmdline.AsUsage(fmt.Errorf("--pod %s is not in --namespace %s", e.pod, q.Namespace))
	}
	if namespace == "" || name == "" {
		return q, cmdline.AsUsage(fmt.Errorf("--pod %s: want namespace/name", e.pod))
	}
	return api.PodQuery{Namespace: namespace, Pod: namespace + "/" + name}, nil
}

// podArgs returns the arguments of halfclose for a query.
func podArgs(q api.PodQuery) (args []string) {
	if q.Pod != "" {
		return []string{"--pod=" + q.Pod}
	}
	if q.Namespace != "" {
		return []string{"--namespace=" + q.Namespace}
	}
	return nil
}

// noSuch returns the error of a query that matches nothing on any node.
func noSuch(q api.PodQuery) error {
	return fmt.Errorf("no node has %s", cmp.Or(q.Pod, "a pod in namespace "+q.Namespace))
}
