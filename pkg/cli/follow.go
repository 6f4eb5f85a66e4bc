// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
)

// The times of following the history: how long the reaper holds a request that has nothing to answer yet, and
// how often a reaper that is away is asked for again.
const (
	pollFor    = 25 * time.Second
	reaskEvery = 500 * time.Millisecond
)

// follow shows what comes after a page of the history, until ctx ends. A reaper that goes away is waited for:
// another will come, with a history of its own.
func (e *env) follow(ctx context.Context, client *admin.Client, page api.HistoryPage, show func([]api.Entry) error) error {
	q := api.HistoryQuery{History: page.History, After: page.Last}
	away, why := false, ""
	for {
		asked := time.Now()
		if q.Wait = pollFor; away { // so that it is told at once when one answers again
			q.Wait = 0
		}
		page, err := client.History(ctx, q)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to go on until told to end
		}
		if err != nil {
			switch {
			case !away:
				e.note("the reaper does not answer any more; waiting for it, or for another")
			case !errors.Is(err, admin.ErrNotRunning) && err.Error() != why:
				why = err.Error()
				e.note("%s", why)
			}
			away = true // how it went, the first error, says nothing
			wait(ctx, reaskEvery)
			continue
		}
		switch {
		case page.History != q.History:
			e.note("the reaper was restarted at %s and has begun another history; what came last in the one before may be missing here",
				e.stamp(page.Since))
		case away:
			e.note("the reaper answers again")
		}
		away, why = false, ""
		if page.Missed > 0 {
			e.note("%d entries are missing here: more came at once than are kept; see the reaper's log", page.Missed)
		}
		q.History, q.After = page.History, page.Last
		if err := show(page.Entries); err != nil {
			return err
		}
		if len(page.Entries) == 0 && time.Since(asked) < reaskEvery { // it has not waited
			wait(ctx, reaskEvery)
		}
	}
}

// wait waits for so long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
