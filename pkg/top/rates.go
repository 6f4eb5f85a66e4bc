// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
)

// rateSpan is the time that a rate is averaged over.
const rateSpan = time.Minute

// The counts of a sample.
const (
	destroyed = iota
	wouldDestroy
)

// sample is the numbers of sockets up to a time.
type sample struct {
	at     time.Time
	counts [2]float64
}

// rates are the samples of the last rateSpan, and one from before it; the oldest is the first.
type rates []sample

// update adds an answer. The first one brings the history of the last minute; later ones count by the growth of the totals,
// which costs the reaper less than a page of the history.
func (r *rates) update(m *model, a answer) {
	now := sample{a.at, totals(a.status.Counts)}
	if !m.loaded {
		*r = samplesOf(a.page, now)
	} else {
		last, was := (*r)[len(*r)-1], totals(m.status.Counts)
		if began := a.status.Holder.Since; !began.Equal(m.status.Holder.Since) { // another reaper, whose totals began at 0
			was = [2]float64{}
			if began.After(last.at) && began.Before(a.at) {
				*r = append(*r, sample{began, last.counts})
			}
		}
		for i := range now.counts {
			now.counts[i] = last.counts[i] + max(0, now.counts[i]-was[i])
		}
	}
	*r = append(*r, now)
	old := slices.IndexFunc(*r, func(s sample) bool { return s.at.After(a.at.Add(-rateSpan)) })
	*r = slices.Delete(*r, 0, max(0, old-1))
}

func totals(c api.Counts) [2]float64 {
	return [2]float64{float64(describe.Total(c.Destroyed)), float64(describe.Total(c.WouldDestroy))}
}

// samplesOf returns the samples of the entries of the last minute, which lead to the totals of now.
func samplesOf(page api.HistoryPage, now sample) rates {
	since := now.at.Add(-rateSpan)
	if page.Since.After(since) {
		since = page.Since
	}
	if page.Missed > 0 && len(page.Entries) > 0 && page.Entries[0].Time.After(since) {
		since = page.Entries[0].Time
	}
	var list rates
	for _, e := range slices.Backward(page.Entries) {
		if e.Time.After(now.at) || e.Time.Before(since) {
			continue
		}
		list = append(list, sample{e.Time, now.counts})
		switch e.Outcome {
		case api.Destroyed:
			now.counts[destroyed]--
		case api.WouldDestroy:
			now.counts[wouldDestroy]--
		}
	}
	list = append(list, sample{since, now.counts})
	slices.Reverse(list)
	return list
}

// until returns a count up to t, on the straight line between the samples around it.
func (r rates) until(t time.Time, count int) float64 {
	i := slices.IndexFunc(r, func(s sample) bool { return !s.at.Before(t) })
	if i <= 0 {
		return r[max(0, i)].counts[count]
	}
	before, after := r[i-1], r[i]
	part := float64(t.Sub(before.at)) / float64(after.at.Sub(before.at))
	return before.counts[count] + part*(after.counts[count]-before.counts[count])
}

// perSecond returns the average of a count over rateSpan, or over the known part of it.
func (r rates) perSecond(count int) float64 {
	last := r[len(r)-1].at
	known := min(rateSpan, max(time.Second, last.Sub(r[0].at)))
	return (r.until(last, count) - r.until(last.Add(-known), count)) / known.Seconds()
}

// bars draws rateSpan in width columns, the newest on the right.
func (r rates) bars(width, count int) string {
	counts := make([]float64, width)
	slot := rateSpan / time.Duration(width)
	for i := range counts {
		to := r[len(r)-1].at.Add(-slot * time.Duration(width-1-i))
		counts[i] = r.until(to, count) - r.until(to.Add(-slot), count)
	}
	return bars(counts)
}
