// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// History returns what was destroyed, or would have been, newest last. It is kept in memory: the last 4096
// entries since the reaper started.
func (r *Reaper) History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error) {
	page := api.HistoryPage{History: r.began.Format(time.RFC3339Nano), Since: r.began}
	if q.History != page.History {
		q.After = 0
	}
	late := time.NewTimer(q.Wait)
	defer late.Stop()
	for {
		var more <-chan struct{}
		err := r.read(ctx, func(l *loop) {
			page.Entries, page.Last = l.history.after(q.After), l.history.total
			if len(page.Entries) == 0 && q.Wait > 0 {
				more = l.history.more()
			}
		})
		if err != nil {
			return page, err
		}
		if page.Last > q.After {
			page.Missed = page.Last - q.After - uint64(len(page.Entries))
		}
		if more == nil {
			return page, nil
		}
		select {
		case <-more:
		case <-late.C:
			return page, nil
		case <-ctx.Done():
			return page, ctx.Err()
		case <-r.ended:
			return page, api.ErrStopped
		}
	}
}
