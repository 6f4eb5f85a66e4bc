// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// explainFlags are the flags of halfclose explain.
type explainFlags struct {
	pods  api.PodQuery
	limit int
}

// explanation is the output of halfclose explain.
type explanation struct {
	// Policies are those of the pod, or of the pods that have the address.
	Policies []api.EffectivePolicy `json:"policies"`
	Sockets  []api.SocketView      `json:"sockets"`
	// Omitted is the number of sockets beyond --limit.
	Omitted int         `json:"omitted"`
	History []api.Entry `json:"history"`
	// Stale is how old the sockets may be.
	Stale api.Seconds `json:"staleSeconds,omitempty"`

	alike    []int // for each socket, the number of sockets like it that are left out; nil: none
	file     api.PolicyList
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
		return usageError{fmt.Errorf("--limit %d: want a number of at least 0", f.limit)}
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	address, notPeer := api.ParsePeer(what)
	end, notEnd := api.ParseEnd(what)
	isAddress := notPeer == nil
	if isAddress && notEnd != nil {
		return usageError{fmt.Errorf("%s is a range: want a pod, or one address such as 10.0.0.7 or 10.0.0.7:443", what)}
	}
	var x explanation
	if isAddress {
		x, err = explainAddress(ctx, client, f.pods, address, end, f.limit)
	} else {
		x, err = explainPod(ctx, client, f.pods, what, f.limit)
	}
	if err != nil {
		return err
	}
	if f.limit > 0 && !e.printsObject() {
		x.groupAlike()
	}
	if f.limit > 0 {
		for i, n := range x.alike {
			if i >= f.limit {
				x.Omitted += n // beside the ones that are cut off below
			}
		}
		x.Omitted += max(len(x.Sockets)-f.limit, 0)
		x.Sockets = x.Sockets[:len(x.Sockets)-x.Omitted]
	}
	if e.printsObject() {
		err = e.printObject(x)
	} else {
		err = e.printExplanation(&x, isAddress)
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
func explainPod(ctx context.Context, client *admin.Client, q api.PodQuery, pod string, limit int) (x explanation, err error) {
	q.Pod = pod
	if x.file, err = client.Policies(ctx, q); err != nil {
		return x, err
	}
	x.Policies = x.file.Policies
	if len(x.Policies) == 0 {
		s, err := client.Status(ctx)
		if err != nil {
			return x, err
		}
		return x, unknownPod(q, s)
	}
	if err := x.addSockets(ctx, client, api.SocketQuery{PodQuery: q, Owners: true}); err != nil {
		return x, err
	}
	return x, x.addHistory(ctx, client, api.EntryFilter{PodQuery: q}, limit)
}

// explainAddress collects what is known of an address: its half-closed sockets, or else its sockets in other states.
func explainAddress(ctx context.Context, client *admin.Client, q api.PodQuery, address api.PeerMatch, end api.End, limit int) (x explanation, err error) {
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
	if x.file, err = client.Policies(ctx, q); err != nil {
		return x, err
	}
	x.Policies = slices.DeleteFunc(slices.Clone(x.file.Policies), func(p api.EffectivePolicy) bool {
		return !slices.ContainsFunc(x.Sockets, func(v api.SocketView) bool { return v.Pod == p.Pod && v.ContainerID == p.ContainerID })
	})
	return x, x.addHistory(ctx, client, api.EntryFilter{PodQuery: q, Ends: api.Ends{A: end}}, limit)
}

// addSockets adds the sockets of a query, the oldest first.
func (x *explanation) addSockets(ctx context.Context, client *admin.Client, q api.SocketQuery) error {
	list, err := client.Sockets(ctx, q)
	if err != nil {
		return err
	}
	x.Sockets, x.Stale = list.Sockets, list.Stale
	x.problems = list.Problems
	return nil
}

// addHistory adds the newest entries that the filter selects, newest last.
func (x *explanation) addHistory(ctx context.Context, client *admin.Client, f api.EntryFilter, limit int) error {
	page, err := client.History(ctx, api.HistoryQuery{EntryFilter: f, Tail: min(limit, api.MaxTail)})
	if err != nil {
		return err
	}
	x.History = page.Entries
	x.problems = append(x.problems, page.Problems...)
	return nil
}

// printExplanation prints the policies, unless an address is explained, the sockets and the history.
func (e *env) printExplanation(x *explanation, isAddress bool) error {
	if !isAddress {
		list := x.file
		list.Policies = x.Policies
		if err := e.printEffectivePolicies(list); err != nil {
			return err
		}
	}
	sc := e.screen()
	var b strings.Builder
	if len(x.Sockets) == 0 {
		b.WriteString("\nNo half-closed sockets.\n")
	}
	for i := range x.Sockets {
		v := &x.Sockets[i]
		head := fmt.Sprintf("%s %s, local %s, peer %s", describe.Pod(v.Pod, v.ContainerID), v.State, v.Local, v.Peer)
		b.WriteString("\n" + term.Fill(sc.Width, "", "  ", safetext.Escape(head)) + "\n")
		for _, line := range socketLines(v) {
			first, rest, text := fmt.Sprintf("  %-8s  ", line.label), strings.Repeat(" ", 12), safetext.Escape(line.text)
			if sc.Width > 0 && sc.Width < 50 {
				first, rest, text = "  ", "    ", line.label+" "+text
			}
			b.WriteString(term.Fill(sc.Width, first, rest, text) + "\n")
		}
		if i < len(x.alike) && x.alike[i] > 0 {
			b.WriteString(term.Fill(sc.Width, "  ", "  ", "and "+describe.Plural(x.alike[i], "younger socket", "younger sockets")+" like it: --limit 0 lists each") + "\n")
		}
	}
	if x.Omitted > 0 {
		b.WriteString("\n" + term.Fill(sc.Width, "", "", describe.Plural(x.Omitted, "more socket is", "more sockets are")+" not listed: \"halfclose leaks\" groups them, and --limit 0 lists all.") + "\n")
	}
	if len(x.History) > 0 {
		b.WriteString("\nHistory\n")
	}
	text := strings.TrimPrefix(b.String(), "\n")
	if !isAddress {
		text = b.String()
	}
	if _, err := fmt.Fprint(e.out, text); err != nil || len(x.History) == 0 {
		return err
	}
	return e.entryTable()(x.History)
}

// groupAlike leaves the oldest of the sockets that are alike: of one pod, state, verdict, rule, owner, and address of a leak.
func (x *explanation) groupAlike() {
	groups := make(map[string]int)
	var first []api.SocketView
	for i := range x.Sockets {
		v := &x.Sockets[i]
		address := ""
		switch v.Role {
		case policy.RoleServer:
			address = v.Local
		case policy.RoleClient:
			address = v.Peer
		}
		key := fmt.Sprintf("%q", []any{v.Pod, v.ContainerID, v.State, v.Role, v.Verdict, v.Rule, v.NotAsked, v.Owners, address})
		at, ok := groups[key]
		if !ok {
			at = len(first)
			groups[key] = at
			first, x.alike = append(first, *v), append(x.alike, -1)
		}
		x.alike[at]++
	}
	x.Sockets = first
}

// splitWhy splits the reason of a verdict from what follows; next is "" if the reason has nothing about it.
func splitWhy(why string) (reason, next string) {
	for _, start := range []string{"; its peer is asked in ", "; its peer would be asked in ", "; it is destroyed in ", "; it would be destroyed in ", "; it may be destroyed"} {
		if before, after, ok := strings.Cut(why, start); ok {
			return before, strings.TrimPrefix(start, "; ") + after
		}
	}
	return why, ""
}

// labelled is a line of an explanation.
type labelled struct{ label, text string }

// socketLines explains one socket.
func socketLines(v *api.SocketView) []labelled {
	reason, next := splitWhy(v.Why)
	lines := []labelled{{"Verdict", v.Verdict.String() + ": " + reason}}
	if !v.State.HalfClosed() {
		return lines
	}
	if v.Age != nil && v.Idle != nil {
		text := "half-closed for " + describe.Age(*v.Age) + ", no progress for " + describe.Age(*v.Idle)
		if v.Role != policy.RoleUnknown {
			text = v.Role.String() + ", " + text
		}
		lines = append(lines, labelled{"Clock", text})
	}
	rule := v.Rule
	if rule == "" {
		rule = "none matches: the values outside of rules apply"
	}
	if !strings.Contains(next, "destroyed") {
		next = nextStep(v)
	}
	lines = append(lines, labelled{"Rule", rule}, labelled{"Next", next}, labelled{"Peer", peerText(v)})
	owner := "unknown"
	if len(v.Owners) > 0 {
		owner = describe.Owners(v.Owners) + "; after a destroy it sees " + describe.OwnerSees(v.State)
	}
	return append(lines, labelled{"Owner", owner})
}

// nextStep returns what happens to a socket next, and when.
func nextStep(v *api.SocketView) string {
	var steps []string
	does, would := "", "would be "
	if v.Mode == policy.Destroy {
		does, would = "is ", ""
	}
	if v.AskIn != nil && *v.AskIn > 0 && v.Verdict != policy.AskingPeer {
		steps = append(steps, "its peer "+does+would+"asked in "+describe.Age(*v.AskIn))
	}
	switch {
	case v.Verdict == policy.Orphan:
		steps = append(steps, "the kernel closes it after net.ipv4.tcp_fin_timeout")
	case v.Deadline == nil:
		steps = append(steps, "its time never ends, so only its peer or its owner can end it")
	case *v.Deadline > 0:
		steps = append(steps, "it "+does+would+"destroyed in "+describe.Age(*v.Deadline))
	case v.Verdict == policy.WouldDestroy:
		steps = append(steps, "in mode destroy it would be destroyed now")
	case v.Verdict == policy.Destroyable:
		steps = append(steps, "it is destroyed now")
	default:
		steps = append(steps, "it stays for the reason of its verdict")
	}
	return strings.Join(steps, "; ")
}

// peerText returns what is known of a socket's peer.
func peerText(v *api.SocketView) string {
	asked := "not asked yet"
	if v.Questions > 0 {
		asked = "asked " + describe.Plural(v.Questions, "time", "times")
	}
	switch {
	case v.PeerAsked != nil:
		return asked + ", being asked for " + describe.Age(*v.PeerAsked)
	case v.NotAsked != "":
		return "cannot be asked (" + v.NotAsked + "), so only the grace counts"
	case v.PeerAlive != nil:
		return asked + ", answered " + describe.Age(*v.PeerAlive) + " ago: it is alive"
	}
	return asked
}
