// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// recorded is a set of forbidden or refused actions that were recorded in this idle time: each is recorded once, also over a
// restart of the reaper.
type recorded uint8

const (
	recordedDestroy recorded = 1 << iota
	recordedQuestion
	recordedFailure // a destroy that the kernel refused
)

// record adds to a candidate's recorded actions. It reports whether the action counts: it was not recorded in this idle time,
// neither by this reaper nor before the candidate was restored.
func (t *tracker) record(c *candidate, what recorded, h *policy.History) bool {
	if c.verdict.recorded&what != 0 {
		return false
	}
	c.verdict.recorded |= what
	t.changed = true
	was, ok := t.earlier[c]
	return !ok || was.recorded&what == 0 || !was.isSameIdleTime(h)
}

// aged returns what outlives a candidate's registration. If its owners are frozen, nothing will show for how long they were:
// its whole idle time counts as frozen.
func (t *tracker) aged(c *candidate, at monotime.Time) aged {
	s := aged{c.history, c.idle, c.verdict.recorded}
	if c.owners.areAllFrozen() {
		s.history.AddFrozen(at.Sub(s.history.IdleStart(policy.ClockProgress)))
	}
	if was, ok := t.earlier[c]; ok && was.isSameIdleTime(&s.history) {
		s.recorded |= was.recorded
	}
	return s
}

// isSameIdleTime reports whether a later history of the socket is of the same connection, without progress since.
func (s *aged) isSameIdleTime(h *policy.History) bool {
	return s.history.ID == h.ID && max(s.history.Start, s.history.Progress) == max(h.Start, h.Progress)
}
