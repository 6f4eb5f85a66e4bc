// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/printer"
)

// historyFlags are the flags and arguments of halfclose history.
type historyFlags struct {
	follow, summary       bool
	tail                  int
	since, until, outcome string
	pods                  api.PodQuery
	addresses             []string
}

func historyCommand(e *env) *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history [ADDRESS [ADDRESS]]",
		Short: "List destroyed and observed sockets",
		Long: `List the destroyed sockets, the newest last: time, pod, state, time since the
half-close (age) and since the last progress (idle), and the grace that ended
it.

  destroyed      the grace has ended
  would-destroy  the grace has ended, but the mode kept the socket
  peer-gone      the peer was asked, and reset the connection or did not
                 answer (timeout)
  closed         the owner closed the socket while its peer was asked
  failed         the kernel refused to destroy it

With an ADDRESS, or ADDRESS:PORT, only connections from or to it are listed,
with a second one those between the two. The last line answers whether halfclose
ended one; the exit code is 1 if the history has none of them.

The history is on disk for 14 days, within 256 MiB, and is read from there if no
reaper runs. Above 600 sockets a minute, or 20 of one pod, owner, state and
peer, the sockets of a minute are one entry with a count; the reaper has the
last 4096 one by one in memory.

A time is a duration before now (30m, 2d, 1w), a time of day within the last 24
hours (at 22:00, 23:00 is yesterday's), today, yesterday, "yesterday 23:00", a
date, or a date and time, in this time zone unless it has its own. With --follow
new entries are printed until ^C, also after a restart of the reaper.

With --output json the output is one object; with --follow it is one object per
line and entry.`,
		Example: `  halfclose history --tail 50
  halfclose history --since 1d --summary         # who, how many, with whom
  halfclose history --since 03:00 --until 04:00 --pod shop/web-1
  halfclose history 10.0.0.7:443                 # did halfclose reset this?
  halfclose history --follow --since 0s          # only new entries
  halfclose history --outcome would-destroy | grep 10.0.0.7:
  halfclose history --follow -o json | jq -r '.pod.name'`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: e.completeAddresses,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.addresses = args
			if cmd.Flags().Changed("tail") && (f.tail < 1 || f.tail > api.MaxTail) {
				return cmdline.AsUsage(fmt.Errorf("--tail: want a number from 1 to %d, not %d", api.MaxTail, f.tail))
			}
			return e.history(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "print new entries until ^C")
	flags.BoolVar(&f.summary, "summary", false, "count sockets by pod, outcome, state, owner and peer")
	flags.IntVar(&f.tail, "tail", 0, "only the newest `N` of the selected entries")
	flags.StringVar(&f.since, "since", "", "only entries since this `time`: "+flagvalue.TimeHelp)
	flags.StringVar(&f.until, "until", "", "only entries until this `time`, as --since")
	e.podFlags(cmd, &f.pods, "only sockets")
	flags.StringVar(&f.outcome, "outcome", "", "only entries with this `outcome`: "+strings.Join(api.Outcomes(), ", "))
	completeOneOf(cmd, "outcome", api.Outcomes()...)
	for _, name := range []string{"since", "until"} {
		completeOneOf(cmd, name, "10m", "1h", "1d", "7d", "today", "yesterday")
	}
	completeOneOf(cmd, "tail", "20", "50", "1000")
	e.tableFlags(cmd)
	return cmd
}

// completeAddresses completes an address with those of the newest entries.
func (e *env) completeAddresses(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []string
	if client, err := e.client(); err == nil && len(args) < 2 {
		page, _ := client.History(cmd.Context(), api.HistoryQuery{Tail: 100})
		for _, en := range page.Entries {
			for _, at := range []netip.AddrPort{en.Peer, en.Local} {
				if at.IsValid() && !slices.Contains(list, at.String()) {
					list = append(list, at.String())
				}
			}
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// query returns the query of the flags.
func (f historyFlags) query(e *env) (q api.HistoryQuery, err error) {
	now := e.Clock()
	q.Tail, q.PodQuery, q.Outcome = f.tail, f.pods, f.outcome
	if f.outcome != "" && !slices.Contains(api.Outcomes(), f.outcome) {
		return q, cmdline.AsUsage(fmt.Errorf("--outcome is one of %s, not %q", strings.Join(api.Outcomes(), ", "), f.outcome))
	}
	if f.since != "" {
		if q.Since, err = flagvalue.ParseSince(f.since, now); err != nil {
			return q, cmdline.AsUsage(err)
		}
	}
	if f.until != "" {
		if q.Until, err = flagvalue.ParseTime("--until", f.until, now); err != nil {
			return q, cmdline.AsUsage(err)
		}
		if q.Until.Before(q.Since) {
			return q, cmdline.AsUsage(fmt.Errorf("--until %s is before --since %s", f.until, f.since))
		}
	}
	for i, to := range []*api.End{&q.Ends.A, &q.Ends.B} {
		if i < len(f.addresses) {
			if *to, err = api.ParseEnd(f.addresses[i]); err != nil {
				return q, cmdline.AsUsage(err)
			}
		}
	}
	switch {
	case f.follow && f.summary:
		return q, cmdline.AsUsage(errors.New("--summary counts past entries: it does not go with --follow"))
	case f.follow && f.until != "":
		return q, cmdline.AsUsage(errors.New("--until does not go with --follow, which waits for new entries"))
	case f.follow && e.Format == printer.YAML:
		return q, cmdline.AsUsage(errors.New("--follow prints a table or, with --output json, lines of JSON"))
	}
	return q, nil
}

// maxShown is how many entries are in one piece of a table, whose columns have the same widths.
const maxShown = 1000

func (e *env) history(ctx context.Context, f historyFlags) error {
	q, err := f.query(e)
	if err != nil {
		return err
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	answer := printer.Answer{Ends: q.Ends}
	var sums printer.Summary
	var page []api.Entry
	show := e.entryTable()
	if e.PrintsObject() {
		show = e.PrintEntryLines
	}
	collects := e.PrintsObject() && !f.follow // into one object
	flush := func() error {
		if collects || len(page) == 0 {
			return nil
		}
		list := page
		page = page[:0]
		return show(list)
	}
	found, oldest := 0, time.Time{}
	end, err := e.eachEntry(ctx, client, q, f.follow, func(en *api.Entry) error {
		if oldest.IsZero() {
			oldest = en.Time
		}
		if !q.Wants(en) {
			return nil // a reaper of another version does not know the filter
		}
		found++
		answer.Add(en)
		if f.summary {
			sums.Add(en)
			return nil
		}
		if page = append(page, *en); len(page) >= maxShown {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case f.summary:
		err = e.PrintSummary(&sums, &end)
	case collects:
		if page == nil {
			page = []api.Entry{}
		}
		err = e.PrintObject(end.Page(page))
	case found == 0 && !f.follow: // a followed table prints its header with its first entries
		err = show(nil)
	default:
		err = flush()
	}
	if err != nil {
		return err
	}
	for _, problem := range end.Problems {
		e.note("%s", problem)
	}
	if f.follow {
		e.note("%s", e.historyNote(&end, oldest, &q, found))
		return e.follow(ctx, client, end, q.EntryFilter, show)
	}
	if !q.Ends.IsZero() {
		text, err := answer.Text(end.Since, e.Stamp)
		if err == nil {
			e.note("%s", text)
		}
		return err
	}
	if found == 0 {
		s, err := client.Status(ctx)
		switch { // without a reaper the history is that of the files
		case err == nil && isUnknown(q.PodQuery, s.Attachments):
			return fmt.Errorf("no entry matches, and %w", unknownPod(q.PodQuery, s))
		case err == nil && len(s.Attachments) == 0:
			e.noteNothingRegistered(s)
		}
	}
	if !e.PrintsObject() {
		e.note("%s", e.historyNote(&end, oldest, &q, found))
	}
	return nil
}

// eachEntry calls yield with the selected entries of the reaper, or if none runs, of the files on disk.
func (e *env) eachEntry(ctx context.Context, client *admin.Client, q api.HistoryQuery, needsReaper bool, yield func(*api.Entry) error) (api.HistoryEnd, error) {
	end, err := client.EachEntry(ctx, q, yield)
	if needsReaper || !errors.Is(err, admin.ErrNotRunning) {
		return end, err
	}
	dir := history.Dir(e.stateDir)
	files, readErr := history.NewReader(dir)
	if readErr != nil {
		return end, fmt.Errorf("%w; %w", err, readErr)
	}
	if files.IsEmpty() {
		return end, fmt.Errorf("%w, and %s has no history", err, dir)
	}
	e.note("no reaper is running: read the history in %s", dir)
	end.Since, _ = files.Oldest()
	err = files.Entries(&q, nil, func(en *api.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(en)
	})
	end.Problems = files.Gaps(e.Stamp)
	return end, err
}

// historyNote describes how far back the listed entries go.
func (e *env) historyNote(end *api.HistoryEnd, oldest time.Time, q *api.HistoryQuery, found int) string {
	text := "the history begins at " + e.Stamp(end.Since)
	if end.History != "" && (end.Began.IsZero() || end.Since.Equal(end.Began)) {
		text += ", when the reaper started"
	}
	switch {
	case end.Missed > 0 && q.Since.Before(oldest):
		text = fmt.Sprintf("%d entries before %s are no longer kept: see the reaper's log", end.Missed, e.Stamp(oldest))
	case !q.Since.IsZero() && !q.Since.Before(end.Since) && len(end.Problems) == 0:
		text = "the history is complete since " + e.Stamp(q.Since)
	}
	switch {
	case found > 0:
		return text
	case q.EntryFilter == api.EntryFilter{}:
		return "no socket has been destroyed; " + text
	}
	return "no entry matches; " + text
}

// entryTable returns a function that prints entries as further rows of one table.
func (e *env) entryTable() func([]api.Entry) error {
	rows := e.EntryRows()
	return func(entries []api.Entry) error {
		rows.Add("", entries...)
		return rows.Flush()
	}
}

const (
	pollTimeout   = 25 * time.Second       // how long the reaper holds a request until there is a new entry
	retryInterval = 500 * time.Millisecond // between requests to a reaper that does not answer
)

// follow shows the selected entries after those of an answer until ctx is done. If the reaper goes away, it waits for the next
// one, which reads on disk what the previous one wrote.
func (e *env) follow(ctx context.Context, client *admin.Client, last api.HistoryEnd, filter api.EntryFilter, show func([]api.Entry) error) error {
	q := api.HistoryQuery{EntryFilter: filter, History: last.History, After: last.Last}
	away, problem := false, ""
	for {
		asked := time.Now()
		if q.Wait = pollTimeout; away { // do not wait for an entry: report the reaper's return at once
			q.Wait = 0
		}
		page, err := client.History(ctx, q)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // an interrupt ends it
		}
		if err != nil {
			switch {
			case !away:
				e.note("lost the reaper; waiting for it or its successor")
			case !errors.Is(err, admin.ErrNotRunning) && err.Error() != problem:
				problem = err.Error()
				e.note("%s", problem)
			}
			away = true // the first error is only that of the lost connection
			wait(ctx, retryInterval)
			continue
		}
		switch {
		case page.History != q.History && !page.Began.IsZero() && page.Since.Before(page.Began):
			e.note("the reaper was restarted at %s", e.Stamp(page.Began))
		case page.History != q.History:
			e.note("the reaper was restarted at %s with a new history; the last entries of the previous one may be missing",
				e.Stamp(page.Since))
		case away:
			e.note("the reaper is back")
		}
		away, problem = false, ""
		if page.Missed > 0 {
			e.note("%d entries are missing: the reaper dropped them before they were read; see its log", page.Missed)
		}
		q.History, q.After = page.History, page.Last
		page.Entries = slices.DeleteFunc(page.Entries, func(en api.Entry) bool { return !filter.Wants(&en) })
		if len(page.Entries) > 0 { // a table without rows would print its header
			if err := show(page.Entries); err != nil {
				return err
			}
		}
		if len(page.Entries) == 0 && time.Since(asked) < retryInterval { // the reaper did not wait
			wait(ctx, retryInterval)
		}
	}
}

// wait waits for d, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
