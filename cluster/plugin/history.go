// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/printer"
)

// defaultTail is the number of entries that are listed without --tail and without an address.
const defaultTail = 1000

// historyFlags are the flags and arguments of kubectl halfclose history.
type historyFlags struct {
	summary               bool
	tail                  int
	since, until, outcome string
	ends                  api.Ends
	addresses             []string
}

func historyCommand(e *env) *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history [ADDRESS [ADDRESS]]",
		Short: "List destroyed and observed sockets",
		Long: `List the sockets that halfclose destroyed or would have destroyed on all nodes,
the newest last, as "halfclose history" does on a node. Pods that no longer exist
are listed too. Without --tail the newest ` + strconv.Itoa(defaultTail) + ` entries are listed; --summary counts all.

With an ADDRESS, or ADDRESS:PORT, only connections from or to it are listed, with
a second one those between the two. The last line answers whether halfclose ended
one; the exit code is 1 if no history has one.`,
		Example: `  kubectl halfclose history --since yesterday --summary
  kubectl halfclose history --since 03:00 --until 04:00 -n shop
  kubectl halfclose history 10.0.0.7:443        # did halfclose reset this?`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.addresses = args
			return e.history(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.summary, "summary", false, "count sockets by node, pod, outcome, state, owner and peer")
	flags.IntVar(&f.tail, "tail", 0, "only the newest `N` of the selected entries")
	flags.StringVar(&f.since, "since", "", "only entries since this `time`: "+flagvalue.TimeHelp)
	flags.StringVar(&f.until, "until", "", "only entries until this `time`, as --since")
	flags.StringVar(&f.outcome, "outcome", "", "only entries with this `outcome`: "+strings.Join(api.Outcomes(), ", "))
	completeOneOf(cmd, "outcome", api.Outcomes()...)
	for _, name := range []string{"since", "until"} {
		completeOneOf(cmd, name, "10m", "1h", "1d", "7d", "today", "yesterday")
	}
	e.podFlag(cmd, "only sockets")
	e.tableFlags(cmd)
	return cmd
}

// args checks the flags, and returns the arguments of halfclose. Times are those of this machine's clock and zone.
func (f *historyFlags) args(now time.Time) (args []string, err error) {
	if f.tail < 0 || f.tail > api.MaxTail {
		return nil, fmt.Errorf("--tail: want a number from 1 to %d, not %d", api.MaxTail, f.tail)
	}
	var since, until time.Time
	if f.since != "" {
		if since, err = flagvalue.ParseSince(f.since, now); err != nil {
			return nil, err
		}
		args = append(args, "--since="+since.UTC().Format(time.RFC3339))
	}
	if f.until != "" {
		if until, err = flagvalue.ParseTime("--until", f.until, now); err != nil {
			return nil, err
		}
		if until.Before(since) {
			return nil, fmt.Errorf("--until %s is before --since %s", f.until, f.since)
		}
		args = append(args, "--until="+until.UTC().Format(time.RFC3339))
	}
	if f.outcome != "" {
		if !slices.Contains(api.Outcomes(), f.outcome) {
			return nil, fmt.Errorf("--outcome is one of %s, not %q", strings.Join(api.Outcomes(), ", "), f.outcome)
		}
		args = append(args, "--outcome="+f.outcome)
	}
	for i, to := range []*api.End{&f.ends.A, &f.ends.B} {
		if i < len(f.addresses) {
			if *to, err = api.ParseEnd(f.addresses[i]); err != nil {
				return nil, err
			}
			args = append(args, to.String())
		}
	}
	if f.summary && len(f.addresses) == 0 {
		return append(args, "--summary"), nil
	}
	return append(args, "--tail="+strconv.Itoa(f.newest())), nil
}

// newest returns the number of entries that are listed.
func (f *historyFlags) newest() int {
	switch {
	case f.tail > 0:
		return f.tail
	case len(f.addresses) > 0:
		return api.MaxTail
	}
	return defaultTail
}

func (e *env) history(ctx context.Context, f *historyFlags) error {
	q, err := e.pods()
	if err != nil {
		return err
	}
	args, err := f.args(e.printer.Clock())
	if err != nil {
		return cmdline.AsUsage(err)
	}
	of, err := e.discover(ctx, api.PodQuery{}) // a pod of an earlier time may have been on any node
	if err != nil {
		return err
	}
	command := append([]string{"history", "--output=json"}, append(podArgs(q), args...)...)
	if slices.Contains(args, "--summary") {
		return e.summary(ctx, of, command)
	}
	answers, err := ask(ctx, e, of, command, readList[api.Entry]("entries", api.MaxTail))
	if err != nil {
		return err
	}
	entries, isCut := []nodeItem[api.Entry]{}, false
	var began time.Time // since when every history is complete
	for i := range answers {
		a := &answers[i]
		if a.Failure != nil {
			continue
		}
		isCut = isCut || len(a.Value.items)+a.Value.unreadable >= f.newest()
		var since time.Time
		if err := since.UnmarshalJSON(a.Value.rest["since"]); err == nil && since.After(began) {
			began = since
		}
		entries = append(entries, a.Value.items...)
	}
	slices.SortStableFunc(entries, func(a, b nodeItem[api.Entry]) int { return a.value.Time.Compare(b.value.Time) })
	if n := f.newest(); len(entries) > n {
		entries, isCut = entries[len(entries)-n:], true
	}
	if isCut && f.tail == 0 {
		e.note("only the newest %d entries are listed: --tail, --since and --until select others, --summary counts all", len(entries))
	}
	views := nodesOf(of, answers, list[api.Entry].problems)
	if e.printer.PrintsObject() {
		err = e.printer.PrintObject(struct {
			Since   time.Time             `json:"since"` // of the history that begins last
			Entries []nodeItem[api.Entry] `json:"entries"`
			Nodes   []nodeView            `json:"nodes"`
		}{began, entries, views})
	} else {
		err = e.printEntries(entries)
	}
	if err != nil {
		return err
	}
	answer := printer.Answer{Ends: f.ends}
	for i := range entries {
		answer.Add(&entries[i].value)
	}
	err = e.finish(of, views)
	switch {
	case !f.ends.IsZero():
		text, unknown := answer.Text(began, e.printer.Stamp)
		if unknown == nil {
			e.note("%s", text)
		} else if err == nil { // an answer that lacks nodes proves nothing
			err = unknown
		}
	case len(entries) == 0:
		e.note("no entry matches; the history of all nodes begins at %s or before", e.printer.Stamp(began))
	}
	return err
}

// printEntries prints the entries of the history of several nodes.
func (e *env) printEntries(entries []nodeItem[api.Entry]) error {
	const piece = 1000 // rows whose columns have the same widths
	rows := e.printer.EntryRows()
	for i, entry := range entries {
		rows.Add(entry.node, entry.value)
		if i%piece == piece-1 {
			if err := rows.Flush(); err != nil {
				return err
			}
		}
	}
	if len(entries) > 0 && len(entries)%piece == 0 {
		return nil
	}
	return rows.Flush()
}

// summary prints the sums of all nodes.
func (e *env) summary(ctx context.Context, of *fleetOf, command []string) error {
	answers, err := ask(ctx, e, of, command, readList[printer.SummaryRow]("summary", 0))
	if err != nil {
		return err
	}
	all := []nodeItem[printer.SummaryRow]{}
	for i := range answers {
		if answers[i].Failure == nil {
			all = append(all, answers[i].Value.items...)
		}
	}
	slices.SortStableFunc(all, func(a, b nodeItem[printer.SummaryRow]) int {
		return cmp.Or(cmp.Compare(b.value.Count, a.value.Count), cmp.Compare(a.node, b.node))
	})
	views := nodesOf(of, answers, list[printer.SummaryRow].problems)
	if e.printer.PrintsObject() {
		err = e.printer.PrintObject(struct {
			Summary []nodeItem[printer.SummaryRow] `json:"summary"`
			Nodes   []nodeView                     `json:"nodes"`
		}{all, views})
	} else {
		rows := e.printer.SummaryRows()
		for _, row := range all {
			rows.Add(row.node, row.value)
		}
		err = rows.Flush()
	}
	return errors.Join(err, e.finish(of, views))
}
