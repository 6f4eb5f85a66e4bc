// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
)

// explainFlags are the flags of halfclose explain.
type explainFlags struct {
	pods  api.PodQuery
	limit int
}

// known is what is known of a pod or an address, and the problems of finding it out.
type known struct {
	printer.Explanation
	problems []string
}

func explainCommand(e *env) *cobra.Command {
	f := explainFlags{limit: 5}
	cmd := &cobra.Command{
		Use:   "explain POD|ADDRESS",
		Short: "Explain what happens to the sockets of a pod or an address",
		Long: `Explain what happens to the half-closed sockets of a pod, or to the sockets that
have an address: the policy with the source of each value, the rule that matches
each socket, its clock, the next step and when, what its peer has answered, who
holds it, and what that process sees after a destroy. The last entries of the
history follow. Sockets that are alike are explained once, by the oldest.

POD is namespace/name, a name, the name of a registration, or a prefix of a
container ID. ADDRESS is an address of either end, such as 10.0.0.7 or
10.0.0.7:443. The exit code is 1 if nothing is known of it.`,
		Example: `  halfclose explain shop/web-1          # why are its sockets spared
  halfclose explain 10.0.0.7:443        # did halfclose reset this connection
  halfclose explain web-1 -n shop -o json | jq '.sockets[].why'`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.explainable(cmd.Context(), f.pods), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return e.explain(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.pods.Namespace, "namespace", "n", "", "only pods in this Kubernetes `NAMESPACE`")
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.namespaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}) // the flag exists
	flags.IntVar(&f.limit, "limit", f.limit, "at most `N` sockets and `N` entries of the history; 0 is all")
	e.outputFlag(cmd)
	return cmd
}

// explainable returns the pods and the addresses that can be explained.
func (e *env) explainable(ctx context.Context, q api.PodQuery) []string {
	return append(e.podNames(ctx, q), e.leakTexts(ctx, func(g api.LeakGroup) []string {
		return append(addressTexts(g.Local), addressTexts(g.Peer)...)
	})...)
}

func (e *env) explain(ctx context.Context, what string, f explainFlags) error {
	if f.limit < 0 {
		return cmdline.AsUsage(fmt.Errorf("--limit %d: want a number of at least 0", f.limit))
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	address, notPeer := api.ParsePeer(what)
	end, notEnd := api.ParseEnd(what)
	isAddress := notPeer == nil
	if isAddress && notEnd != nil {
		return cmdline.AsUsage(fmt.Errorf("%s is a range: want a pod, or one address such as 10.0.0.7 or 10.0.0.7:443", what))
	}
	var x known
	if isAddress {
		x, err = explainAddress(ctx, client, f.pods, address, end, f.limit)
	} else {
		x, err = explainPod(ctx, client, f.pods, what, f.limit)
	}
	if err != nil {
		return err
	}
	if !isAddress && len(x.Policies) == 0 {
		s, err := client.Status(ctx)
		if err != nil {
			return err
		}
		f.pods.Pod = what
		return e.printUnknown(x.Explanation, f.pods, s)
	}
	if f.limit > 0 {
		x.Limit(f.limit, !e.PrintsObject())
	}
	if e.PrintsObject() {
		err = e.PrintObject(x.Explanation)
	} else {
		err = e.PrintExplanation(&x.Explanation, isAddress)
	}
	e.noteStale(x.Stale)
	switch {
	case err != nil:
		return err
	case len(x.problems) > 0:
		return fmt.Errorf("the explanation is incomplete: %s", strings.Join(x.problems, "; "))
	case isAddress && len(x.Sockets) == 0 && len(x.History) == 0:
		if s, err := client.Status(ctx); err == nil && len(s.Attachments) == 0 {
			return nothingRegistered(s)
		}
		return fmt.Errorf("no TCP socket of a registered pod has the address %s, and the history has none (%s): \"halfclose sockets --netns NETNS\" lists those of other namespaces",
			what, policy.NotRegistered)
	}
	return nil
}

// explainPod collects what is known of a pod.
func explainPod(ctx context.Context, client *admin.Client, q api.PodQuery, pod string, limit int) (x known, err error) {
	q.Pod = pod
	list, err := client.Policies(ctx, q)
	if err != nil {
		return x, err
	}
	x.PolicyFile, x.Policies = list.PolicyFile, list.Policies
	if len(x.Policies) == 0 {
		return x, nil // no attachment matches
	}
	if err := x.addSockets(ctx, client, api.SocketQuery{PodQuery: q, Owners: true}); err != nil {
		return x, err
	}
	return x, x.addHistory(ctx, client, api.EntryFilter{PodQuery: q}, limit)
}

// explainAddress collects what is known of an address: its half-closed sockets, or else its sockets in other states.
func explainAddress(ctx context.Context, client *admin.Client, q api.PodQuery, address api.PeerMatch, end api.End, limit int) (x known, err error) {
	query := api.SocketQuery{PodQuery: q, Owners: true, SocketFilter: api.SocketFilter{Address: address}}
	if err := x.addSockets(ctx, client, query); err != nil {
		return x, err
	}
	if len(x.Sockets) == 0 {
		query.All = true
		if err := x.addSockets(ctx, client, query); err != nil {
			return x, err
		}
	}
	list, err := client.Policies(ctx, q)
	if err != nil {
		return x, err
	}
	x.PolicyFile = list.PolicyFile
	x.Policies = slices.DeleteFunc(slices.Clone(list.Policies), func(p api.EffectivePolicy) bool {
		return !slices.ContainsFunc(x.Sockets, func(v api.SocketView) bool { return v.Pod == p.Pod && v.ContainerID == p.ContainerID })
	})
	return x, x.addHistory(ctx, client, api.EntryFilter{PodQuery: q, Ends: api.Ends{A: end}}, limit)
}

// addSockets adds the sockets of a query, the oldest first.
func (x *known) addSockets(ctx context.Context, client *admin.Client, q api.SocketQuery) error {
	list, err := client.Sockets(ctx, q)
	if err != nil {
		return err
	}
	x.Sockets, x.Stale = list.Sockets, list.Stale
	x.problems = list.Problems
	return nil
}

// addHistory adds the newest entries that the filter selects, newest last.
func (x *known) addHistory(ctx context.Context, client *admin.Client, f api.EntryFilter, limit int) error {
	page, err := client.History(ctx, api.HistoryQuery{EntryFilter: f, Tail: min(limit, api.MaxTail)})
	if err != nil {
		return err
	}
	x.History = page.Entries
	x.problems = append(x.problems, page.Problems...)
	return nil
}
