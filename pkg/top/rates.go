// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// rates are the numbers of destroyed and of observed sockets per second.
type rates struct {
	destroyed, would rate
}

// update adds an answer. The first answer brings the history of the last minute; later ones count by the growth of the
// totals, which costs the reaper far less than a page of the history.
func (r *rates) update(m *model, a answer) {
	began := a.status.Holder.Since
	switch {
	case a.history != nil:
		r.countHistory(*a.history, a.at)
		return
	case !m.loaded:
		r.destroyed.advance(a.at)
		r.would.advance(a.at)
		return
	}
	from, was := m.at, m.status.Counts
	if !began.Equal(m.status.Holder.Since) { // another reaper, whose totals began at 0
		was = api.Counts{}
		if began.After(from) {
			from = began
		}
	}
	grown := func(now, before map[inetdiag.State]uint64) float64 {
		return max(0, float64(describe.Total(now))-float64(describe.Total(before)))
	}
	r.destroyed.add(from, a.at, grown(a.status.Counts.Destroyed, was.Destroyed))
	r.would.add(from, a.at, grown(a.status.Counts.WouldDestroy, was.WouldDestroy))
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

// rateSpan is the time that a rate is averaged over, in seconds.
const rateSpan = 60

// rate counts events in each of the last rateSpan seconds.
type rate struct {
	counts [rateSpan]float64
	newest int64     // the second of the last count, in Unix time
	since  time.Time // the beginning of the known time
}

// advance shifts the counts, with t as the newest second.
func (r *rate) advance(t time.Time) {
	if r.since.IsZero() {
		r.since, r.newest = t, t.Unix()
	}
	steps := min(t.Unix()-r.newest, rateSpan)
	if steps <= 0 {
		return
	}
	copy(r.counts[:], r.counts[steps:])
	clear(r.counts[rateSpan-steps:])
	r.newest = t.Unix()
}

// add counts n events, spread evenly between two times.
func (r *rate) add(from, to time.Time, n float64) {
	r.advance(to)
	last := to.Unix()
	first := min(from.Unix()+1, last)
	each := n / float64(last-first+1)
	for second := max(first, r.newest-rateSpan+1); second <= last; second++ {
		r.counts[rateSpan-1-(r.newest-second)] += each
	}
}

// perSecond returns the average over rateSpan, or over the known part of it.
func (r *rate) perSecond() float64 {
	var sum float64
	for _, n := range r.counts {
		sum += n
	}
	known := min(float64(rateSpan), max(1, float64(r.newest-r.since.Unix())))
	return sum / known
}

// bars draws rateSpan in width columns, the newest on the right.
func (r *rate) bars(width int) string {
	counts := make([]float64, width)
	for i, n := range r.counts {
		counts[i*width/rateSpan] += n
	}
	return bars(counts)
}

// bars draws each count as a vertical bar of one column. The highest fills the line.
func bars(counts []float64) string {
	highest := 0.0
	for _, n := range counts {
		highest = max(highest, n)
	}
	signs := []rune("▁▂▃▄▅▆▇█")
	b := make([]rune, 0, len(counts))
	for _, n := range counts {
		if n <= 0 {
			b = append(b, '·')
			continue
		}
		b = append(b, signs[min(len(signs)-1, int(n/highest*float64(len(signs))))])
	}
	return string(b)
}
