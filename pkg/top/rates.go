// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// rates are how often sockets were destroyed lately, or would have been.
type rates struct {
	destroyed, would rate
}

// hear takes in what the reaper said. What happened before it was first asked is in its journal, and what
// has happened since is what its counts have grown by: a page of the journal each time would cost far more.
func (r *rates) hear(t *model, h answer) {
	began := h.status.Holder.Since
	switch {
	case h.journal != nil:
		r.recall(*h.journal, h.at)
		return
	case !t.seen:
		r.destroyed.advance(h.at)
		r.would.advance(h.at)
		return
	}
	from, was := t.at, t.status.Counts
	if !began.Equal(t.status.Holder.Since) { // another reaper, which counts from 0
		was = api.Counts{}
		if began.After(from) {
			from = began
		}
	}
	grown := func(now, before map[inetdiag.State]uint64) float64 {
		return max(0, float64(describe.Total(now))-float64(describe.Total(before)))
	}
	r.destroyed.add(from, h.at, grown(h.status.Counts.Destroyed, was.Destroyed))
	r.would.add(from, h.at, grown(h.status.Counts.WouldDestroy, was.WouldDestroy))
}

// recall counts what the journal has of the last minute.
func (r *rates) recall(page api.JournalPage, at time.Time) {
	since := at.Add(-rateSpan * time.Second)
	if page.Since.After(since) {
		since = page.Since
	}
	if page.Missed > 0 && len(page.Entries) > 0 && page.Entries[0].Time.After(since) {
		since = page.Entries[0].Time
	}
	*r = rates{}
	for _, to := range []*rate{&r.destroyed, &r.would} {
		to.advance(since)
		to.advance(at)
	}
	for _, e := range page.Entries {
		to := &r.destroyed
		if e.Outcome == api.WouldDestroy {
			to = &r.would
		}
		if !e.Time.Before(since) && !e.Time.After(at) {
			to.add(e.Time, e.Time, 1)
		}
	}
}
