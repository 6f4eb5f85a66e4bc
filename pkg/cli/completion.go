// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"io"
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

// adaptBash makes the command "completion bash" print a script that needs no package bash-completion.
func adaptBash(cmd *cobra.Command) {
	cmd.Long = `Generate the completion script for bash. The package bash-completion is used if
it is installed, and not needed.

To complete in this shell:

	source <(halfclose completion bash)

To complete in every new shell with bash-completion, run once as root:

	halfclose completion bash > /etc/bash_completion.d/halfclose

Without bash-completion, add the source line to ~/.bashrc.
`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var script bytes.Buffer
		noDescriptions, _ := cmd.Flags().GetBool("no-descriptions") // the flag exists
		if err := cmd.Root().GenBashCompletionV2(&script, !noDescriptions); err != nil {
			return err
		}
		text := strings.ReplaceAll(script.String(), "_filedir", "__halfclose_filedir")
		_, err := io.WriteString(cmd.OutOrStdout(), text+bashFallback)
		return err
	}
}

// bashFallback replaces the functions of the package bash-completion that cobra's script calls, where they do not exist.
//
// Bash splits the command line at each = and : too (COMP_WORDBREAKS), so --pod=shop/web is three words. cobra's script
// requires words that are split only at white space: a word belongs to the one before it if one of the two consists of
// = and :, and no white space separates them in the line.
const bashFallback = `
__halfclose_words()
{
    local i word rest=$COMP_LINE start=0
    words=() cword=0
    for i in "${!COMP_WORDS[@]}"; do
        word=${COMP_WORDS[i]}
        if ((i > 0)) && [[ $rest != [[:space:]]* && ( $word != *[^=:]* || ${COMP_WORDS[i-1]} != *[^=:]* ) ]]; then
            words[${#words[@]}-1]+=$word
        else
            while [[ $rest == [[:space:]]* ]]; do
                rest=${rest#?}
            done
            start=$((${#COMP_LINE} - ${#rest}))
            words+=("$word")
        fi
        rest=${rest#"$word"}
        if ((i == COMP_CWORD)); then
            cword=$((${#words[@]} - 1))
            break # the script ignores the words after the cursor
        fi
    done
    if ((COMP_POINT >= start)); then
        words[cword]=${words[cword]:0:COMP_POINT-start}
    fi
    cur=${words[cword]} prev=
    if ((cword > 0)); then
        prev=${words[cword-1]}
    fi
}

__halfclose_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
    else
        __halfclose_words
    fi
}

__halfclose_filedir()
{
    if declare -F _filedir >/dev/null 2>&1; then
        _filedir "$@"
        return
    fi
    local path kind=-f
    if [[ ${1-} == -d ]]; then
        kind=-d
    fi
    COMPREPLY=()
    while IFS='' read -r path; do
        COMPREPLY+=("$path")
    done < <(compgen $kind -- "$cur")
    if [[ $(type -t compopt) == builtin ]]; then
        compopt -o filenames 2>/dev/null
    fi
}
`
