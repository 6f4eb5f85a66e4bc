// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

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
