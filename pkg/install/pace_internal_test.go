// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnEntryThatIsTakenOutEachTimeIsPutBackMoreAndMoreSeldom(t *testing.T) {
	p := newPace()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now, last := start, start
	var delays []time.Duration
	var told []int
	for n := range 14 { // it is gone as soon as it is put back
		at := p.next(now)
		delays = append(delays, at.Sub(last))
		now, last = at, at
		if p.again(now) {
			told = append(told, n)
		}
	}
	s := time.Second
	want := []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 300 * s, 300 * s, 300 * s, 300 * s}
	if diff := cmp.Diff(want, delays); diff != "" {
		t.Errorf("delays (-want +got)\n%s", diff)
	}
	if !cmp.Equal([]int{contested - 1}, told) {
		t.Errorf("said to be contested at the times %v, want it once", told)
	}
	if at := p.next(now.Add(299 * s)); at != now.Add(300*s) {
		t.Errorf("a second too soon it may be put back in %v", at.Sub(now))
	}
	if p.rested(now.Add(p.calm - 1)) {
		t.Error("it is calm too soon")
	}
	calm := now.Add(p.calm)
	if !p.rested(calm) || p.next(calm) != calm {
		t.Errorf("after a calm it is put back in %v", p.next(calm).Sub(calm))
	}
	if p.again(calm); p.next(calm) != calm.Add(s) {
		t.Errorf("and the time after that in %v", p.next(calm).Sub(calm))
	}
}

func TestAnEntryThatIsTakenOutForDaysIsStillPutBack(t *testing.T) {
	p := newPace()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 5000 {
		now = p.next(now)
		p.again(now)
	}
	if got := p.next(now).Sub(now); got != p.longest {
		t.Errorf("put back in %v, want %v", got, p.longest)
	}
}
