// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/register"
)

// socketFlags are the flags of halfclose sockets.
type socketFlags struct {
	query api.SocketQuery
	netns string // the argument NETNS
	limit int
}

func socketsCommand(e *env) *cobra.Command {
	var f socketFlags
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "List half-closed sockets with their verdicts",
		Long: `List the half-closed sockets of all registered namespaces, the oldest of each
pod first: time since the half-close (age) and since the last progress (idle),
queued bytes, verdict, and its reason.

The verdict is "destroy" if the grace has ended, "would-destroy" if it has
ended but the mode keeps the socket; any other verdict names the reason to keep
it.

The reaper reads the half-closed sockets when it is asked, or says how old the
list is. With --all or --netns it queries the kernel for sockets in every state.`,
		Example: `  halfclose sockets                              # half-closed sockets
  halfclose sockets --pod shop/web-1 --owners    # with their processes
  halfclose sockets --state CLOSE_WAIT --verdict unread-data
  halfclose sockets --peer 10.0.0.0/8 --port 443 --older-than 1h
  halfclose sockets --owner java                 # of a process, by name or pid
  halfclose sockets --verdict would-destroy      # kept only by the mode
  halfclose sockets --all                        # every TCP socket, as of now
  halfclose sockets --netns web                  # of any namespace
  halfclose sockets -o wide | grep 10.0.0.7:     # one line per socket`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.sockets(cmd.Context(), f) },
	}
	q := &f.query
	cmd.Flags().BoolVar(&q.All, "all", false, "query the kernel now, for every TCP socket of the registered namespaces")
	cmd.Flags().StringVar(&f.netns, "netns", "", "query the kernel now, for every TCP socket of this `NETNS`: a path, a process id or a name under /run/netns")
	_ = cmd.RegisterFlagCompletionFunc("netns", completeNetns) // the flag exists
	cmd.Flags().BoolVar(&q.Owners, "owners", false, "find the processes that own each socket (walks over /proc)")
	e.podFlags(cmd, &q.PodQuery, "only sockets")
	cmd.Flags().Var(flagvalue.State{To: &q.State}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2, with --all any")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	cmd.Flags().Var(flagvalue.Verdict{To: &q.Verdict}, "verdict", "only sockets with this verdict, such as peer-alive, unread-data or destroy")
	completeOneOf(cmd, "verdict", flagvalue.Verdicts()...)
	e.filterFlags(cmd, &q.SocketFilter)
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most `N` sockets; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

// check validates the combination of flags.
func (f socketFlags) check() error {
	if s := f.query.State; s != 0 && !s.HalfClosed() && !f.query.All && f.netns == "" {
		return cmdline.AsUsage(fmt.Errorf("--state %v: only half-closed sockets are tracked; use --all for other states", s))
	}
	if f.limit < 0 || f.limit > maxCount {
		return cmdline.AsUsage(fmt.Errorf("--limit is a number from 0 to %d", maxCount))
	}
	return nil
}

func (e *env) sockets(ctx context.Context, f socketFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	q := f.query
	if f.netns != "" { // the reaper has another working directory and process id
		where, err := register.Locate(f.netns)
		if err != nil {
			return err
		}
		q.Netns = where.Path
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	list, err := client.Sockets(ctx, q)
	if err != nil {
		return err
	}
	var s api.Status
	asked := false
	if len(list.Sockets) == 0 && f.netns == "" {
		s, err = client.Status(ctx)
		if asked = err == nil; asked && isUnknown(q.PodQuery, s.Attachments) {
			return e.printUnknown(list, q.PodQuery, s)
		}
	}
	if f.limit > 0 && len(list.Sockets) > f.limit {
		list.Omitted = len(list.Sockets) - f.limit
		list.Sockets = list.Sockets[:f.limit]
	}
	if e.PrintsObject() {
		err = e.PrintObject(list)
	} else {
		rows := e.SocketRows(q.Owners || q.Owner != "")
		rows.Add("", list.Sockets...)
		err = rows.Flush()
	}
	if err == nil && len(list.Problems) > 0 {
		err = fmt.Errorf("the list is incomplete: %s", strings.Join(list.Problems, "; "))
	}
	e.noteStale(list.Stale)
	if list.Omitted > 0 {
		e.note("%s not listed (--limit %d)", describe.Plural(list.Omitted, "more socket is", "more sockets are"), f.limit)
	}
	switch {
	case err != nil || len(list.Sockets) > 0:
	case asked && len(s.Attachments) == 0:
		e.noteNothingRegistered(s)
	default:
		e.note("%s", emptyReason(f))
	}
	return err
}

// emptyReason explains an empty list.
func emptyReason(f socketFlags) string {
	q := f.query
	filtered := !q.PodQuery.IsZero() || !q.SocketFilter.IsZero() || q.State != 0 || q.Verdict != nil
	switch queried := q.All || f.netns != ""; {
	case queried && filtered:
		return "no TCP socket matches"
	case queried:
		return "no TCP sockets"
	case filtered:
		return "no half-closed socket matches; --all also lists the sockets in other states"
	}
	return "no half-closed sockets; --all also lists the sockets in other states"
}

// noteStale notes that an answer is older than its question.
func (e *env) noteStale(s api.Seconds) {
	if text := describe.Stale(s); text != "" {
		e.note("%s", text)
	}
}
