// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeOneOf completes a flag with the given words.
func completeOneOf(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// completeCluster completes the common flags with names of the cluster.
func (e *env) completeCluster(root *cobra.Command) {
	namespaces := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.names(cmd.Context(), Cluster.Namespaces), cobra.ShellCompDirectiveNoFileComp
	}
	for _, flag := range []string{"namespace", "daemonset-namespace"} {
		_ = root.RegisterFlagCompletionFunc(flag, namespaces) // the flag exists
	}
	_ = root.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.names(cmd.Context(), Cluster.Nodes), cobra.ShellCompDirectiveNoFileComp
	}) // the flag exists
	_ = root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		config, err := e.config.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for name := range config.Contexts {
			names = append(names, name)
		}
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}) // the flag exists
}

// completePods completes the name of a pod: that of the namespace, or with its own.
func (e *env) completePods(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace := e.namespace()
	names := e.names(cmd.Context(), func(c Cluster, ctx context.Context) ([]string, error) { return c.Pods(ctx, namespace) })
	if namespace != "" {
		for i := range names {
			names[i] = strings.TrimPrefix(names[i], namespace+"/")
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completionTimeout bounds the wait after the tab key.
const completionTimeout = 2 * time.Second

// names returns names of the cluster, none if it does not answer in time.
func (e *env) names(ctx context.Context, list func(Cluster, context.Context) ([]string, error)) []string {
	cluster, err := e.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	names, err := list(cluster, ctx)
	if err != nil {
		return nil
	}
	return names
}
