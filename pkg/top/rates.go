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

// update takes in an answer. What happened before the first answer is in its history; what has happened since is the
// growth of the counts: a page of the history each time would cost far more.
func (r *rates) update(t *model, h answer) {
	began := h.status.Holder.Since
	switch {
	case h.history != nil:
		r.countHistory(*h.history, h.at)
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

// countHistory counts the entries of the last minute.
func (r *rates) countHistory(page api.HistoryPage, at time.Time) {
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
