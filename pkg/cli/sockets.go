// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/term"
)

// socketFlags are the flags of halfclose sockets.
type socketFlags struct {
	query   api.SocketQuery
	netns   string // as somebody names it
	verdict verdictValue
}

func socketsCommand(e *env) *cobra.Command {
	var f socketFlags
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "List the half-closed sockets, and why each is spared",
		Long: `List the half-closed sockets of all registered namespaces, the oldest of each pod
first: how long each has been half-closed and without progress, what is queued in
it, the verdict on it, and why.

The verdict "destroy" is on a socket whose grace has ended, "would-destroy" where
the mode keeps it from being destroyed; any other names what spares it.

What is listed is what the reaper knows from its last look at each. With --all or
--netns it looks now, at sockets in every state.`,
		Example: `  halfclose sockets                              # each half-closed socket
  halfclose sockets --pod shop/web-1 --owners    # and which processes hold it
  halfclose sockets --state CLOSE_WAIT --verdict unread-data
  halfclose sockets --verdict would-destroy      # what mode destroy would end
  halfclose sockets --all                        # every TCP socket, looking now
  halfclose sockets --netns web                  # of any namespace
  halfclose sockets -o wide | grep 10.0.0.7:     # one line per socket`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.sockets(cmd.Context(), f) },
	}
	q := &f.query
	cmd.Flags().BoolVar(&q.All, "all", false, "look now, at every TCP socket of the registered namespaces")
	cmd.Flags().StringVar(&f.netns, "netns", "", "look now, at every TCP socket of the `NETNS`, registered or not: a path, a process id or a name under /run/netns")
	_ = cmd.RegisterFlagCompletionFunc("netns", completeNetns) // the flag exists
	cmd.Flags().BoolVar(&q.Owners, "owners", false, "find the processes that hold each socket (walks over /proc)")
	e.podFlag(cmd, &q.Pod, "only the sockets of this pod")
	cmd.Flags().Var(stateValue{&q.State}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2, with --all any")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	cmd.Flags().Var(&f.verdict, "verdict", "only sockets with this verdict, such as peer-alive, unread-data or destroy")
	completeOneOf(cmd, "verdict", verdictNames()...)
	e.outputFlag(cmd)
	return cmd
}

// check says what is wrong with the flags together.
func (f socketFlags) check() error {
	if s := f.query.State; s != 0 && !s.HalfClosed() && !f.query.All && f.netns == "" {
		return usageError{fmt.Errorf("--state %v: only half-closed sockets are followed; with --all the others are looked at too", s)}
	}
	return nil
}

func (e *env) sockets(ctx context.Context, f socketFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	q := f.query
	if f.netns != "" { // the reaper works in another directory, and is another process
		where, err := locate(f.netns, hostfs.NetnsDirs())
		if err != nil {
			return err
		}
		q.Netns = where.path
	}
	if f.verdict.set {
		q.Verdict = &f.verdict.reason
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	list, err := client.Sockets(ctx, q)
	if err != nil {
		return err
	}
	if e.output == outputJSON {
		err = printJSON(e.out, list)
	} else {
		err = e.printSockets(list.Sockets, q.Owners)
	}
	if err == nil && len(list.Problems) > 0 {
		err = fmt.Errorf("not everything could be looked at: %s", strings.Join(list.Problems, "; "))
	}
	if err == nil && len(list.Sockets) == 0 {
		e.note("%s", nothing(ctx, client, f))
	}
	return err
}

// nothing says why no socket is listed.
func nothing(ctx context.Context, client *admin.Client, f socketFlags) string {
	q := f.query
	if q.Pod != "" && f.netns == "" {
		s, err := client.Status(ctx)
		if err == nil && !slices.ContainsFunc(s.Attachments, func(a api.AttachmentView) bool { return api.CoversPod(q.Pod, a.Pod, a.ContainerID) }) {
			return noSuchPod(q.Pod)
		}
	}
	matches := q.Pod != "" || q.State != 0 || f.verdict.set
	switch looked := q.All || f.netns != ""; {
	case looked && matches:
		return "no TCP socket matches"
	case looked:
		return "there is no TCP socket"
	case matches:
		return "no half-closed socket that the last look found matches; --all looks now"
	}
	return "the last look found no half-closed socket; --all looks now"
}

func noSuchPod(pod string) string {
	return "no attachment matches --pod " + pod + "; \"halfclose status --all\" lists them"
}

func (e *env) printSockets(views []api.SocketView, owners bool) error {
	cols := []term.Column{
		{Name: "POD"},
		{Name: "STATE", Fold: 2, Lead: ", ", Paint: statePaint},
		{Name: "LOCAL", Fold: 4, Lead: ", local "},
		{Name: "PEER", Fold: 4, Lead: ", peer "},
		{Name: "AGE", Right: true, Fold: 3, Lead: ", age "},
		{Name: "IDLE", Right: true, Fold: 5, Lead: ", idle "},
		{Name: "RECV-Q", Right: true, Fold: 6, Lead: ", recv-q "},
		{Name: "SEND-Q", Right: true, Fold: 6, Lead: ", send-q "},
		{Name: "VERDICT", Fold: 1, Lead: ", ", Paint: verdictPaint},
		{Name: "WHY", Fold: 7, Lead: ": "},
	}
	wide := e.output == outputWide
	if wide {
		cols = append(cols, term.Column{Name: "PEER-ASKED"})
	}
	if owners {
		cols = append(cols, term.Column{Name: "OWNERS", Fold: 8, Lead: "; held by "})
	}
	t := term.NewTable(e.out, e.screen(), cols...)
	for _, v := range views {
		row := []string{
			describe.Pod(v.Pod, v.ContainerID), v.State.String(), v.Local, v.Peer, orDash(v.Age), orDash(v.Idle),
			strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), v.Why,
		}
		if wide {
			row = append(row, describe.Asked(v))
		}
		if owners {
			row = append(row, describe.Owners(v.Owners))
		}
		t.Row(row...)
	}
	return t.Flush()
}
