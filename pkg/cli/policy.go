// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

func policyCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show a pod's policy, or check a policy file",
		Long: `Show the policy of a pod with the source of each value, or check a policy file
before the reaper reads it.

The policy file of a node, /etc/halfclose/policy.yaml, changes the policies of
running pods within a second.`,
		Example: `  halfclose policy show shop/web-1
  halfclose policy check /etc/halfclose/policy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return cmdline.AsUsage(fmt.Errorf("want a subcommand: show POD or check FILE"))
		},
	}
	cmd.AddCommand(policyShowCommand(e), policyCheckCommand(e))
	return cmd
}

func policyCheckCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "List every mistake in a policy file",
		Long: `List every mistake in a policy file, with its line, column and key. FILE is a
path, or - for stdin. The exit code is 1 if there is any: the reaper ignores
such a file, and keeps the last good content in force.

No reaper is needed. The owner of the file is not checked: the reaper only
reads a file that is root's and writable by root alone.`,
		Example: `  halfclose policy check /etc/halfclose/policy.yaml
  halfclose policy check policy.yaml -o json`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return e.checkPolicyFile(cmd.InOrStdin(), args[0]) },
	}
	e.outputFlag(cmd)
	return cmd
}

// policyCheck is the result of policy check.
type policyCheck struct {
	File     string               `json:"file"`
	Entries  int                  `json:"entries"`
	Problems []policyfile.Problem `json:"problems"`
}

func (e *env) checkPolicyFile(in io.Reader, path string) error {
	data, err := policyfile.ReadAll(path, in)
	if err != nil {
		return err
	}
	name := path
	if path == "-" {
		name = "stdin"
	}
	file, problems := policyfile.Parse(data, name)
	result := policyCheck{File: name, Entries: len(file.Entries), Problems: append([]policyfile.Problem{}, problems...)}
	if e.PrintsObject() {
		err = e.PrintObject(result)
	} else {
		err = e.printPolicyCheck(result, &file)
	}
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("%s in %s", describe.Plural(len(problems), "mistake", "mistakes"), name)
	}
	return err
}

func (e *env) printPolicyCheck(r policyCheck, file *policyfile.File) error {
	var b strings.Builder
	for _, p := range r.Problems {
		b.WriteString(safetext.Escape(p.At(r.File)) + "\n")
	}
	if len(r.Problems) == 0 {
		parts := []string{describe.Plural(r.Entries, "entry", "entries")}
		if file.Defaults != nil {
			parts = append(parts, "defaults")
		}
		if file.PodOverrides != policy.OverridesAny {
			parts = append(parts, "podOverrides "+file.PodOverrides.String())
		}
		fmt.Fprintf(&b, "%s: no mistakes (%s)\n", safetext.Escape(r.File), strings.Join(parts, ", "))
	}
	_, err := fmt.Fprint(e.Out, b.String())
	return err
}

func policyShowCommand(e *env) *cobra.Command {
	var q api.PodQuery
	cmd := &cobra.Command{
		Use:   "show POD",
		Short: "Show the policy of a pod, with the source of each value",
		Long: `Show the effective policy of a pod, with the source of each value, rule and
exemption, and what caps its mode. POD is namespace/name, a name, the name of a
registration, or a prefix of a container ID.

With podOverrides relax a pod with annotations has two policies, without and
with its annotations: each socket gets the more conservative verdict of both.`,
		Example: `  halfclose policy show shop/web-1
  halfclose policy show web-1 -n shop -o json | jq '.policies[].policies'`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.podNames(cmd.Context(), q), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Pod = args[0]
			return e.showPolicy(cmd.Context(), q)
		},
	}
	cmd.Flags().StringVarP(&q.Namespace, "namespace", "n", "", "only pods in this Kubernetes `NAMESPACE`")
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.namespaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	e.tableFlags(cmd)
	return cmd
}

func (e *env) showPolicy(ctx context.Context, q api.PodQuery) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	list, err := client.Policies(ctx, q)
	if err != nil {
		return err
	}
	if len(list.Policies) == 0 {
		return fmt.Errorf("no attachment matches %q; \"halfclose status --all\" lists them", q.Pod)
	}
	if e.PrintsObject() {
		return e.PrintObject(list)
	}
	return e.PrintPolicies(&list)
}
