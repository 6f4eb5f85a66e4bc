// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// LatenessRow is the delay of destroys after their deadlines.
type LatenessRow struct {
	While    string  `json:"while"`
	Finder   string  `json:"finder,omitempty"`
	Sockets  int     `json:"sockets"`
	P50      float64 `json:"p50Milliseconds"`
	P99      float64 `json:"p99Milliseconds"`
	Worst    float64 `json:"worstMilliseconds"`
	Reported float64 `json:"reportedMilliseconds,omitempty"` // the longest delay in the history, with the excused time
}

// disturbed is the number of namespaces with sockets that become due during the requests.
const disturbed = 2

// dueGrace is the grace of these sockets.
const dueGrace = 8 * time.Second

// measureDisturbed lets sockets become due in the namespaces after the first ones, without requests to the reaper and with
// requests all the time.
func measureDisturbed(ctx context.Context, store *state.Store, nd *netnsSet, first int) ([]LatenessRow, error) {
	var rows []LatenessRow
	client := admin.NewClient(store.SocketPath())
	http := overSocket(store.SocketPath())
	for _, asked := range []bool{false, true} {
		row := LatenessRow{While: "no request is made"}
		if asked {
			row.While = "status, sockets and metrics are requested without a pause"
		}
		progress("watching %d sockets become due while %s", disturbed*leak().Closed, row.While)
		g, inner := errgroup.WithContext(ctx)
		inner, stop := context.WithCancel(inner)
		if asked {
			g.Go(func() error {
				for inner.Err() == nil {
					for _, path := range []string{"/metrics", "/v1/status", "/v1/sockets"} {
						if _, err := fetch(inner, http, path); err != nil && inner.Err() == nil {
							return err
						}
					}
				}
				return nil
			})
		}
		late, err := becomeDue(inner, client, store, nd, first)
		stop()
		if failed := g.Wait(); err == nil {
			err = failed
		}
		if err != nil {
			return nil, fmt.Errorf("while %s: %w", row.While, err)
		}
		slices.Sort(late)
		row.Sockets, row.Worst = len(late), milliseconds(late[len(late)-1])
		row.P50, row.P99 = milliseconds(median(late)), milliseconds(late[len(late)*99/100])
		rows = append(rows, row)
	}
	return rows, nil
}

// becomeDue creates leaked sockets, waits until the reaper has destroyed all of them, and returns the delays.
func becomeDue(ctx context.Context, client *admin.Client, store *state.Store, nd *netnsSet, first int) ([]time.Duration, error) {
	before, err := client.History(ctx, api.HistoryQuery{})
	if err != nil {
		return nil, err
	}
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(dueGrace), policy.Patience(dueGrace)
	if err := nd.fill(first, first+disturbed, leak()); err != nil {
		return nil, err
	}
	if err := recordAs(store, nd.targets[first:first+disturbed], p, "due-"+strconv.FormatUint(before.Last, 10)); err != nil {
		return nil, err
	}
	want := disturbed * leak().Closed
	var late []time.Duration
	err = poll(ctx, patience, time.Second, fmt.Sprintf("%d sockets are destroyed", want), func() (bool, error) {
		page, err := client.History(ctx, api.HistoryQuery{History: before.History, After: before.Last})
		if err != nil || len(page.Entries) != want {
			return false, err
		}
		for _, e := range page.Entries {
			late = append(late, time.Duration(e.Late))
		}
		return true, nil
	})
	return late, err
}
