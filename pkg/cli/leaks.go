// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// leaksFlags are the flags of halfclose leaks.
type leaksFlags struct {
	query api.LeakQuery
}

func leaksCommand(e *env) *cobra.Command {
	var f leaksFlags
	cmd := &cobra.Command{
		Use:   "leaks",
		Short: "List leaks: groups of sockets that stay half-closed",
		Long: `List leaks: the half-closed sockets of each pod, owner, state and address in one
line, the largest group first.

A socket counts if one of its patiences has ended (its peer is, was or would be
asked, or it is past its grace), or if it made no progress for a minute. With
--all younger sockets count too, and sockets that the kernel closes on its own.

  ADDRESS   what the sockets have in common: a server's local address, or the
            address of a client's peer
  OLDEST    the time for which the oldest one has been half-closed
  GROWTH    sockets that became half-closed per minute, in the last 10 minutes
            or since the oldest one, and still are; "-" in the first minute
            after a pod is registered or the reaper has started

Notes below the table list the processes that keep the descriptors of ended
sockets, or are near their limit on open files.`,
		Example: `  halfclose leaks                          # who leaks, since when, how fast
  halfclose leaks -n shop --min 100
  halfclose leaks --owner java --older-than 1h
  halfclose leaks --peer 10.0.0.0/8 --state CLOSE_WAIT
  halfclose leaks -o json | jq '.groups[0].owners'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.leaks(cmd.Context(), f) },
	}
	q, flags := &f.query, cmd.Flags()
	flags.BoolVar(&q.All, "all", false, "count every half-closed socket, also the young ones")
	e.podFlags(cmd, &q.PodQuery, "only leaks")
	flags.Var(flagvalue.State{To: &q.State}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	flags.Var(flagvalue.Verdict{To: &q.Verdict}, "verdict", "only sockets with this verdict, such as peer-alive, unread-data or destroy")
	completeOneOf(cmd, "verdict", flagvalue.Verdicts()...)
	e.filterFlags(cmd, &q.SocketFilter)
	flags.IntVar(&q.Min, "min", 0, "only groups of at least `N` sockets")
	flags.IntVar(&q.Limit, "limit", 0, "only the `N` largest groups; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

// check validates the flags.
func (f *leaksFlags) check() error {
	switch q := &f.query; {
	case q.State != 0 && !q.State.HalfClosed():
		return cmdline.AsUsage(fmt.Errorf("--state %v: only half-closed sockets can leak: CLOSE_WAIT or FIN_WAIT2", q.State))
	case q.Min < 0 || q.Limit < 0 || q.Min > maxCount || q.Limit > maxCount:
		return cmdline.AsUsage(fmt.Errorf("--min and --limit are numbers from 0 to %d", maxCount))
	}
	return nil
}

const maxCount = 1_000_000_000

func (e *env) leaks(ctx context.Context, f leaksFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	q := f.query
	client, err := e.client()
	if err != nil {
		return err
	}
	list, err := client.Leaks(ctx, q)
	if err != nil {
		return err
	}
	var s api.Status
	if list.Sockets == 0 {
		s, err = client.Status(ctx)
		if err != nil {
			return err
		}
		if isUnknown(q.PodQuery, s.Attachments) {
			return e.printUnknown(list, q.PodQuery, s)
		}
	}
	if e.PrintsObject() {
		err = e.PrintObject(list)
	} else {
		err = e.PrintLeaks(&list)
	}
	e.noteStale(list.Stale)
	switch {
	case err != nil:
		return err
	case list.Sockets == 0 && len(s.Attachments) == 0:
		e.noteNothingRegistered(s)
	case len(list.Groups) == 0:
		e.note("%s", noLeaks(list))
	}
	if len(list.Problems) > 0 {
		return errors.New("some owners are missing: " + strings.Join(list.Problems, "; "))
	}
	return nil
}

// noLeaks explains an empty list.
func noLeaks(list api.LeakList) string {
	switch {
	case list.Sockets > 0:
		return "no group has that many sockets: " + describe.Plural(list.Sockets, "socket is", "sockets are") + " in smaller ones"
	case list.Young > 0:
		return "no leaks: " + describe.Plural(list.Young, "half-closed socket is", "half-closed sockets are") + " within a minute of progress; --all lists them"
	}
	return "no leaks: no half-closed socket matches"
}
