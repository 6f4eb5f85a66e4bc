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
	excuseFound                         // a sweep or a walk found it after it became half-closed
	excuseBudget                        // it waited for --max-destroys-per-second
	excuseOwners                        // it waited for a look-up of its owners
	excuseSpared                        // another socket or its owner spared it
	excusePolicy                        // a later policy or mode made it due
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

// lateness is the delay of a destroy.
type lateness struct {
	late, excused time.Duration // their sum is the time since it was due
	by            excuse        // reasons of excused
}

// latenessOf returns the delay of a destroy: the time since the last progress, or since the socket became half-closed as
// far as that is known, minus the patience. It does not use the deadline of the verdict, which is as late as the look
// from which it counts.
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
	// The idle time counts from the first look. No look is due before the registration, and one per interval after it.
	// Only the time beyond that is halfclose's own delay.
	found := max(start.Sub(began), 0)
	if start.Before(registered) { // an earlier reaper's look, or before another registration
		excused(found, excuseFound)
	} else {
		before := min(max(registered.Sub(began), 0), found)
		excused(before, excuseRegistered)
		excused(min(found-before, c.ns.Interval), excuseFound)
	}
	// The time after the end of the patience.
	due := start.Add(patience)
	excused(registered.Sub(due), excuseRegistered)
	excused(c.excused.Sub(max(due, registered)), c.verdict.excuses)
	l.late = total - l.excused
	return l
}

// lateSince returns from when a destroy after a deadline is late: not before the network namespace was registered, and
// after the excused time.
func (c *candidate) lateSince(deadline monotime.Time) monotime.Time {
	return max(deadline, c.ns.registeredAt, c.excused)
}

// excuse excuses the time since which a candidate past its deadline was not destroyed.
func (c *candidate) excuse(since, now monotime.Time, by excuse) {
	if c.verdict.deadline.IsZero() {
		return
	}
	due := c.lateSince(c.verdict.deadline)
	if wait := now.Sub(max(since, due)); wait > 0 {
		c.excused = due.Add(wait)
		c.verdict.excuses |= by
	}
}

// excuseSparing excuses the time for which a candidate was spared past its deadline, once a verdict has another reason.
func (c *candidate) excuseSparing(v *policy.Verdict, now monotime.Time) {
	switch c.verdict.reason {
	case policy.PeerSpared, policy.BelowThreshold, policy.OwnerFrozen, policy.OwnerUnknown:
		if v.Reason != c.verdict.reason {
			c.excuse(0, now, excuseSpared)
		}
	default:
	}
}
