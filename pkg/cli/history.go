// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// historyFlags are the flags of halfclose history.
type historyFlags struct {
	follow         bool
	since, outcome string
	pods           api.PodQuery
}

func historyCommand(e *env) *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List destroyed and observed sockets",
		Long: `List the destroyed sockets, the newest last: time, pod, state, time since the
half-close (age) and since the last progress (idle), and the grace that ended
it.

  destroyed      the grace has ended
  would-destroy  the grace has ended, but the mode kept the socket
  peer-gone      the peer was asked, and reset the connection or did not
                 answer (timeout)
  closed         the owner closed the socket while its peer was asked

The reaper keeps the last 4096 entries in memory since its start. With --follow
new entries are printed until ^C, also after a restart of the reaper.

With --output json the output is one object; with --follow it is one object per
line and socket.`,
		Example: `  halfclose history --since 10m
  halfclose history --since 03:00 --pod shop/web-1
  halfclose history --follow --since 0s    # only new entries
  halfclose history --outcome would-destroy -o wide | grep 10.0.0.7:
  halfclose history --follow -o json | jq -r '.pod.name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.history(cmd.Context(), f) },
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "print new entries until ^C")
	cmd.Flags().StringVar(&f.since, "since", "", "only entries since this `time`: 10m, 15:04 or 2006-01-02T15:04:05Z")
	e.podFlags(cmd, &f.pods, "only sockets")
	cmd.Flags().StringVar(&f.outcome, "outcome", "", "only entries with this `outcome`: "+strings.Join(outcomes(), ", "))
	completeOneOf(cmd, "outcome", outcomes()...)
	e.tableFlags(cmd)
	return cmd
}

// outcomes lists the outcomes of an entry.
func outcomes() []string {
	return []string{api.Destroyed, api.PeerGone, api.Closed, api.WouldDestroy}
}

// entryFilter selects entries of the history.
type entryFilter struct {
	since   time.Time
	pods    api.PodQuery
	outcome string
}

func (f historyFlags) filter(now time.Time) (entryFilter, error) {
	filter := entryFilter{pods: f.pods, outcome: f.outcome}
	if f.outcome != "" && !slices.Contains(outcomes(), f.outcome) {
		return filter, usageError{fmt.Errorf("--outcome is one of %s, not %q", strings.Join(outcomes(), ", "), f.outcome)}
	}
	var err error
	if f.since != "" {
		filter.since, err = parseSince(f.since, now)
	}
	return filter, err
}

// of returns the selected entries.
func (f entryFilter) of(entries []api.Entry) []api.Entry {
	return slices.DeleteFunc(entries, func(en api.Entry) bool {
		return en.Time.Before(f.since) || !f.pods.Covers(en.Pod, en.ContainerID) || f.outcome != "" && f.outcome != en.Outcome
	})
}

func (e *env) history(ctx context.Context, f historyFlags) error {
	filter, err := f.filter(e.clock())
	if err != nil {
		return err
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	page, err := client.History(ctx, api.HistoryQuery{})
	if err != nil {
		return err
	}
	oldest := page.Since
	if page.Missed > 0 && len(page.Entries) > 0 {
		oldest = page.Entries[0].Time
	}
	page.Entries = filter.of(page.Entries)
	if e.output == outputJSON && !f.follow {
		return printJSON(e.out, page)
	}
	show := e.entryTable()
	if e.output == outputJSON {
		show = e.entryLines
	}
	if len(page.Entries) > 0 || !f.follow { // a followed table prints its header with its first entries
		if err := show(page.Entries); err != nil {
			return err
		}
	}
	e.note("%s", e.historyNote(page, oldest, filter))
	if !f.follow {
		return nil
	}
	return e.follow(ctx, client, page, func(entries []api.Entry) error {
		if entries = filter.of(entries); len(entries) == 0 {
			return nil
		}
		return show(entries)
	})
}

// historyNote describes how far back the listed entries go.
func (e *env) historyNote(page api.HistoryPage, oldest time.Time, f entryFilter) string {
	text := "the history begins at " + e.stamp(page.Since) + ", when the reaper started"
	switch {
	case page.Missed > 0 && f.since.Before(oldest):
		text = fmt.Sprintf("%d entries before %s are no longer kept: see the reaper's log", page.Missed, e.stamp(oldest))
	case !f.since.Before(page.Since):
		text = "the history is complete since " + e.stamp(f.since)
	}
	switch {
	case len(page.Entries) > 0:
		return text
	case f == entryFilter{}:
		return "no socket has been destroyed; " + text
	}
	return "no entry matches; " + text
}

// entryLines prints each entry as a line of JSON.
func (e *env) entryLines(entries []api.Entry) error {
	enc := json.NewEncoder(printable{w: e.out})
	for i := range entries {
		if err := enc.Encode(&entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// entryTable returns a function that prints entries as further rows of one table.
func (e *env) entryTable() func([]api.Entry) error {
	t := e.table(
		term.Column{Name: "TIME"},
		term.Column{Name: "OUTCOME", Fold: 1, Lead: ", ", Paint: outcomePaint},
		term.Column{Name: "POD", Fold: 2, Lead: ", "},
		term.Column{Name: "STATE", Fold: 3, Lead: ", ", Paint: statePaint},
		term.Column{Name: "LOCAL", Fold: 5, Lead: ", local "},
		term.Column{Name: "PEER", Fold: 5, Lead: ", peer "},
		term.Column{Name: "AGE", Right: true, Fold: 4, Lead: ", age "},
		term.Column{Name: "IDLE", Right: true, Fold: 6, Lead: ", idle "},
		term.Column{Name: "GRACE", Right: true, Fold: 7, Lead: ", grace "},
		term.Column{Name: "LATE", Right: true, Fold: 8, Lead: ", late "},
		term.Column{Name: "RECV-Q", Right: true, Fold: 8, Lead: ", recv-q "},
		term.Column{Name: "SEND-Q", Right: true, Fold: 8, Lead: ", send-q "},
		term.Column{Name: "OWNERS", Fold: 9, Lead: "; held by "})
	return func(entries []api.Entry) error {
		for _, en := range entries {
			outcome, grace := en.Outcome, "-"
			if en.How != "" {
				outcome += " (" + en.How + ")"
			}
			if en.Grace != 0 {
				grace = en.Grace.String()
			}
			t.Row(e.stamp(en.Time), outcome, describe.Pod(en.Pod, en.ContainerID), en.State.String(), en.Local.String(), en.Peer.String(),
				describe.Age(en.Age), describe.Age(en.Idle), grace, describe.Age(en.Late),
				strconv.FormatUint(uint64(en.RQueue), 10), strconv.FormatUint(uint64(en.WQueue), 10), describe.Owners(en.Owners))
		}
		return t.Flush()
	}
}
