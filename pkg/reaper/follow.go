// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"time"
)

// JournalQuery says which entries of the journal to list.
type JournalQuery struct {
	// Journal and After are those of the page before, Journal and Last: only what came later is listed.
	// Entries of another reaper's journal have other numbers, so with another Journal all are.
	Journal string
	After   uint64
	// Wait is how long to wait for an entry if there is none yet.
	Wait time.Duration
}

// JournalPage is an answer to a JournalQuery.
type JournalPage struct {
	// Journal names the journal: a reaper begins another each time it starts.
	Journal string    `json:"journal"`
	Since   time.Time `json:"since"` // when it was begun
	Entries []Entry   `json:"entries"`
	Last    uint64    `json:"last"` // the number of the newest entry that there is
	// Missed is how many of the entries asked for are kept no longer.
	Missed uint64 `json:"missed"`
}

// Journal returns what was destroyed, or would have been, newest last. It is kept in memory: the last 4096
// entries since the reaper started.
func (r *Reaper) Journal(ctx context.Context, q JournalQuery) (JournalPage, error) {
	page := JournalPage{Journal: r.began.Format(time.RFC3339Nano), Since: r.began}
	if q.Journal != page.Journal {
		q.After = 0
	}
	late := time.NewTimer(q.Wait)
	defer late.Stop()
	for {
		var more <-chan struct{}
		err := r.read(ctx, func(l *loop) {
			page.Entries, page.Last = l.journal.after(q.After), l.journal.total
			if len(page.Entries) == 0 && q.Wait > 0 {
				more = l.journal.more()
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
			return page, ErrStopped
		}
	}
}
