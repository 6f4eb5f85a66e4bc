// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import "time"

// pace says how soon the entry may be put back, so that two installers that each undo what the other does do not
// spend a node's time on it: at once the first time, then at intervals that double up to the longest. One that
// has stayed for as long as calm is contested no more.
type pace struct {
	first, longest, calm time.Duration
	put                  time.Time // when it was put back last
	times                int       // how often without a calm
}

// contested is how many times the entry is put back before that is worth a word.
const contested = 3

func newPace() pace {
	return pace{first: time.Second, longest: 5 * time.Minute, calm: 10 * time.Minute}
}

// next returns when the entry may be put back that is gone now.
func (p *pace) next(now time.Time) time.Time {
	if p.rested(now) {
		p.times = 0
	}
	if p.times == 0 {
		return now
	}
	delay := p.longest
	if doublings := p.times - 1; doublings < 20 {
		delay = min(p.first<<doublings, p.longest)
	}
	return p.put.Add(delay)
}

// again notes that the entry is put back now, and reports whether it is contested from now on.
func (p *pace) again(now time.Time) bool {
	p.put = now
	p.times++
	return p.times == contested
}

// rested reports whether the entry, while it is there, has been for so long that it is contested no more.
func (p *pace) rested(now time.Time) bool { return p.times > 0 && now.Sub(p.put) >= p.calm }
