// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/describe"
)

func completionCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what lets a shell complete this command line",
		Long: `Print the script that lets a shell complete halfclose's commands and flags, and
the names of the pods on this node.`,
		Example: `  . <(halfclose completion bash)   # for this bash; it needs bash-completion
  halfclose completion bash > /etc/bash_completion.d/halfclose
  halfclose completion zsh > "${fpath[1]}/_halfclose"
  halfclose completion fish > ~/.config/fish/completions/halfclose.fish`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(cmd, args) != nil {
				return fmt.Errorf("the shell is bash, zsh or fish, not %q", strings.Join(args, " "))
			}
			return nil
		},
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "zsh":
				return cmd.Root().GenZshCompletion(e.out)
			case "fish":
				return cmd.Root().GenFishCompletion(e.out, true)
			}
			return cmd.Root().GenBashCompletionV2(e.out, true)
		},
	}
}

// completeOneOf lets a flag be completed with one of the words.
func completeOneOf(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// completePaths lets nothing be completed with the names of files but the flags that take one.
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

// completionPatience is how long somebody who has pressed the tab key waits.
const completionPatience = time.Second

// completePods lets --pod be completed with the pods that the reaper knows; without a reaper with nothing.
func (e *env) completePods(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("pod", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.pods(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
}

func (e *env) pods(ctx context.Context) []string {
	if e.check() != nil {
		return nil
	}
	client, err := e.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	s, err := client.Status(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range s.Attachments {
		if name := describe.Pod(a.Pod, a.ContainerID); strings.IndexFunc(name, foreign) < 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// foreign reports whether r has no place in the name of a pod or container: what a shell may take for more
// than a name is not offered to it.
func foreign(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./", r)
}
