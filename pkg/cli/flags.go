// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/printer"
)

// outputFlag adds --output to a command.
func (e *env) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.Format, "output", "o", printer.Table, "output `format`: table, wide (one line per row), json or yaml")
	completeOneOf(cmd, "output", printer.Formats()...)
}

// tableFlags adds --output and --no-headers to a command that prints a table.
func (e *env) tableFlags(cmd *cobra.Command) {
	e.outputFlag(cmd)
	cmd.Flags().BoolVar(&e.NoHeaders, "no-headers", false, "print tables without their header")
}

// checkOutput validates --output.
func (e *env) checkOutput() error {
	if err := printer.CheckFormat(e.Format); err != nil {
		return cmdline.AsUsage(err)
	}
	return nil
}

// podFlags adds --pod, --namespace and --all-namespaces to a command.
func (e *env) podFlags(cmd *cobra.Command, q *api.PodQuery, usage string) {
	cmd.Flags().StringVar(&q.Pod, "pod", "", usage+" of this `POD`: namespace/name, name, or prefix of a container ID")
	cmd.Flags().StringVarP(&q.Namespace, "namespace", "n", "", usage+" of pods in this Kubernetes `NAMESPACE`")
	cmd.Flags().BoolP("all-namespaces", "A", false, usage+" of pods in all Kubernetes namespaces (the default)")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	_ = cmd.RegisterFlagCompletionFunc("pod", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.podNames(cmd.Context(), *q), cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.namespaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
}

// noSuchPod is the error of a query that covers no attachment: most likely the name is misspelt.
func noSuchPod(q api.PodQuery) error {
	var flags []string
	if q.Namespace != "" {
		flags = append(flags, "--namespace "+q.Namespace)
	}
	if q.Pod != "" {
		flags = append(flags, "--pod "+q.Pod)
	}
	return fmt.Errorf("no attachment matches %s; \"halfclose status --all\" lists them", strings.Join(flags, " "))
}

// isUnknown reports whether a query covers none of the attachments.
func isUnknown(q api.PodQuery, attachments []api.AttachmentView) bool {
	return !q.IsZero() && !slices.ContainsFunc(attachments, func(a api.AttachmentView) bool { return q.Covers(a.Pod, a.ContainerID) })
}

// printUnknown prints the empty answer to a query that covers no attachment as an object, if the format is one, so that a program
// that asks several nodes can distinguish it from a failure. It returns the error of the query.
func (e *env) printUnknown(empty any, q api.PodQuery, s api.Status) error {
	if e.PrintsObject() {
		if err := e.PrintObject(empty); err != nil {
			return err
		}
	}
	return unknownPod(q, s)
}
