// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
)

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
