// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
)

// completeOneOf completes a flag with the given words.
func completeOneOf(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// completePaths turns off the completion of file names, except for flags that take a path.
func completePaths(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, cmd := range append(root.Commands(), root) {
		flags := func(f *pflag.Flag) {
			if strings.HasSuffix(f.Name, "-dir") || strings.HasSuffix(f.Name, "-root") {
				_ = cobra.MarkFlagDirname(cmd.LocalFlags(), f.Name) // the flag exists
			}
		}
		cmd.Flags().VisitAll(flags)
		cmd.PersistentFlags().VisitAll(flags)
	}
}

// completionTimeout bounds the wait after the tab key.
const completionTimeout = time.Second

// podNames returns the names of the reaper's pods and registrations that a query covers apart from its pod, none if no
// reaper is running.
func (e *env) podNames(ctx context.Context, q api.PodQuery) []string {
	return e.complete(ctx, func(a api.AttachmentView) string {
		if !(api.PodQuery{Namespace: q.Namespace}).Covers(a.Pod, a.ContainerID) {
			return ""
		}
		return describe.Pod(a.Pod, a.ContainerID)
	})
}

// namespaces returns the Kubernetes namespaces of the reaper's pods.
func (e *env) namespaces(ctx context.Context) []string {
	return e.complete(ctx, func(a api.AttachmentView) string { return a.Pod.Namespace })
}

// complete returns a text of each of the reaper's attachments, without empty and repeated ones.
func (e *env) complete(ctx context.Context, of func(api.AttachmentView) string) []string {
	return e.completions(ctx, isForeign, func(ctx context.Context, client *admin.Client) (texts []string, err error) {
		s, err := client.Status(ctx)
		for _, a := range s.Attachments {
			texts = append(texts, of(a))
		}
		return texts, err
	})
}

// completions returns the texts of the reaper's answer to a question, sorted and distinct, without empty ones and those with a
// foreign rune; none if no reaper answers.
func (e *env) completions(ctx context.Context, foreign func(rune) bool, ask func(context.Context, *admin.Client) ([]string, error)) []string {
	if e.check() != nil {
		return nil
	}
	client, err := e.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	texts, err := ask(ctx, client)
	if err != nil {
		return nil
	}
	texts = slices.DeleteFunc(texts, func(text string) bool { return text == "" || strings.ContainsFunc(text, foreign) })
	slices.Sort(texts)
	return slices.Compact(texts)
}

// isForeign reports whether r cannot be in the name of a pod or container. Such names are not completed: a shell might
// interpret them.
func isForeign(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./", r)
}
