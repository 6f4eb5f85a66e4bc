// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"time"
)

// rateSpan is over how long a rate is taken, in seconds.
const rateSpan = 60

// rate is how often something happened in each of the last seconds.
type rate struct {
	counts [rateSpan]float64
	newest int64     // the second, since 1970, that the last count is of
	since  time.Time // there is nothing to count from before
}

// advance makes t the newest second.
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

// add counts n that happened between two moments, nobody knows when exactly.
func (r *rate) add(from, to time.Time, n float64) {
	r.advance(to)
	last := to.Unix()
	first := min(from.Unix()+1, last)
	each := n / float64(last-first+1)
	for second := max(first, r.newest-rateSpan+1); second <= last; second++ {
		r.counts[rateSpan-1-(r.newest-second)] += each
	}
}

// perSecond is the average over the span, or over as much of it as is known.
func (r *rate) perSecond() float64 {
	var sum float64
	for _, n := range r.counts {
		sum += n
	}
	known := min(float64(rateSpan), max(1, float64(r.newest-r.since.Unix())))
	return sum / known
}

// bars draws the span in so many columns, the newest on the right.
func (r *rate) bars(width int) string {
	counts := make([]float64, width)
	for i, n := range r.counts {
		counts[i*width/rateSpan] += n
	}
	return bars(counts)
}

// bars draws each count as a bar of one column, the highest as high as the line.
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
