// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// excuse is a set of reasons why a destroy may be late.
type excuse uint8

const (
	excuseRegistered excuse = 1 << iota // its network namespace was registered later, or no reaper ran
	excuseFound                         // it was found by a sweep or a walk, not as it became half-closed
	excuseBudget                        // it waited for --max-destroys-per-second
	excuseOwners                        // it waited for its owners
	excuseSpared                        // it was spared by another socket, or by its owner
	excusePolicy                        // another policy or mode made it due
)

var excuseNames = [...]string{"registered-later", "found-late", "budget", "owners", "spared", "policy"}

// names lists the reasons.
func (e excuse) names() (list []string) {
	for i, name := range excuseNames {
		if e&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// lateness is how late a destroy is.
type lateness struct {
	late, excused time.Duration // together the time since it was due
	by            excuse        // reasons of excused
}

// latenessOf returns how late a destroy is: since its last progress, or else since the socket became half-closed as far as
// that is known, more than its patience has passed. The deadline that was judged by is no part of it: where the finder
// was held up, or the socket was found late for another reason, the deadline is as late.
func latenessOf(c *candidate, h *policy.History, v *policy.Verdict, at monotime.Time) lateness {
	start, patience, registered := v.EndWhy.Start, time.Duration(v.EndWhy.Patience), c.ns.registeredAt
	began := h.Since.Add(h.Frozen)
	if began.Before(start) && !h.Progress.IsZero() {
		began = max(began, h.Progress.Add(h.FrozenIdle))
	}
	total := max(at.Sub(began.Add(patience)), 0)

	var l lateness
	excused := func(d time.Duration, by excuse) {
		if d = min(d, total-l.excused); d > 0 {
			l.excused += d
			l.by |= by
		}
	}
	// Its idle time counts from the first look. Before the registration no look was due, and from then on one each
	// interval: only what exceeds that is halfclose's own delay.
	found := max(start.Sub(began), 0)
	if start.Before(registered) { // an earlier reaper's look, or before another registration
		excused(found, excuseFound)
	} else {
		before := min(max(registered.Sub(began), 0), found)
		excused(before, excuseRegistered)
		excused(min(found-before, c.ns.Interval), excuseFound)
	}
	// What came after the patience was over.
	due := start.Add(patience)
	excused(registered.Sub(due), excuseRegistered)
	excused(c.excused.Sub(max(due, registered)), c.verdict.excuses)
	l.late = total - l.excused
	return l
}

// dueSince returns since when it could have been destroyed, if its deadline is that one: not before this reaper knew
// its network namespace, and without what is excused.
func (c *candidate) dueSince(deadline monotime.Time) monotime.Time {
	return max(deadline, c.ns.registeredAt, c.excused)
}

// excuse excuses that a candidate past its deadline was not destroyed since a time.
func (c *candidate) excuse(since, now monotime.Time, by excuse) {
	if c.verdict.deadline.IsZero() {
		return
	}
	due := c.dueSince(c.verdict.deadline)
	if wait := now.Sub(max(since, due)); wait > 0 {
		c.excused = due.Add(wait)
		c.verdict.excuses |= by
	}
}

// excuseSparing excuses the time in which a candidate was spared past its deadline, at a verdict that spares it no more.
func (c *candidate) excuseSparing(v *policy.Verdict, now monotime.Time) {
	switch c.verdict.reason {
	case policy.PeerSpared, policy.BelowThreshold, policy.OwnerFrozen, policy.OwnerUnknown:
		if v.Reason != c.verdict.reason {
			c.excuse(0, now, excuseSpared)
		}
	default:
	}
}
