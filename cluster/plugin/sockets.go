// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
)

// socketsFlags are the flags of kubectl halfclose sockets.
type socketsFlags struct {
	socketFlags
	all, owners bool
	limit       int
}

func socketsCommand(e *env) *cobra.Command {
	f := socketsFlags{limit: 500}
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "List half-closed sockets with their verdicts",
		Long: `List the half-closed sockets of all nodes, the oldest of each pod first, as
"halfclose sockets" does on a node. Each node returns at most --limit sockets;
"kubectl halfclose leaks" groups them.`,
		Example: `  kubectl halfclose sockets --pod shop/web-1 --owners
  kubectl halfclose sockets -n shop --verdict unread-data
  kubectl halfclose sockets --peer 10.0.0.7:443 -o wide`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.sockets(cmd.Context(), &f) },
	}
	f.add(cmd)
	e.podFlag(cmd, "only sockets")
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every TCP socket, also established ones")
	flags.BoolVar(&f.owners, "owners", false, "find the processes that own each socket")
	flags.IntVar(&f.limit, "limit", f.limit, "at most `N` sockets of each node; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

func (e *env) sockets(ctx context.Context, f *socketsFlags) error {
	q, err := e.pods()
	switch {
	case err != nil:
		return err
	case f.limit < 0:
		return cmdline.AsUsage(fmt.Errorf("--limit %d: want a number of at least 0", f.limit))
	case f.state != 0 && !f.state.HalfClosed() && !f.all:
		return cmdline.AsUsage(fmt.Errorf("--state %v: only half-closed sockets are tracked; use --all for other states", f.state))
	}
	of, err := e.discover(ctx, q)
	if err != nil {
		return err
	}
	command := append([]string{"sockets", "--output=json", "--limit=" + strconv.Itoa(f.limit)}, append(podArgs(q), f.args()...)...)
	if f.all {
		command = append(command, "--all")
	}
	owners := f.owners || f.filter.Owner != ""
	if owners {
		command = append(command, "--owners")
	}
	answers, err := ask(ctx, e, of, command, readList[api.SocketView]("sockets", f.limit))
	if err != nil {
		return err
	}
	if isUnknownEverywhere(q, answers) {
		return noSuch(q)
	}
	all, omitted := []nodeItem[api.SocketView]{}, 0
	for i := range answers {
		a := &answers[i]
		if n := a.Value.omitted + a.Value.number("omitted"); n > 0 {
			omitted += n
			e.note("%s: %s not listed (--limit %d)", a.Node, describe.Plural(n, "more socket is", "more sockets are"), f.limit)
		}
		if a.Failure == nil {
			all = append(all, a.Value.items...)
		}
	}
	views := nodesOf(of, answers, list[api.SocketView].problems)
	if e.printer.PrintsObject() {
		err = e.printer.PrintObject(struct {
			Sockets []nodeItem[api.SocketView] `json:"sockets"`
			Omitted int                        `json:"omitted"`
			Nodes   []nodeView                 `json:"nodes"`
		}{all, omitted, views})
	} else {
		rows := e.printer.SocketRows(owners)
		for _, s := range all {
			rows.Add(s.node, s.value)
		}
		err = rows.Flush()
	}
	if err != nil {
		return err
	}
	noteStale(e, answers)
	if len(all) == 0 && !e.printer.PrintsObject() {
		e.note("no half-closed socket matches")
	}
	return e.finish(of, views)
}
