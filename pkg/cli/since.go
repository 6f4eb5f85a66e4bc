// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"
)

// parseSince parses --since: a duration before now, a time of day within the last 24 hours, or a date and time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return lastAt(at, now), nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, usageError{fmt.Errorf("--since is a duration such as 10m, a time such as 15:04 or 2006-01-02T15:04:05Z, not %q", text)}
}

// lastAt returns the last time at which a clock showed this time of day.
func lastAt(clock, now time.Time) time.Time {
	year, month, day := now.Date()
	at := time.Date(year, month, day, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
	if at.After(now) {
		at = time.Date(year, month, day-1, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
	}
	return at
}

// clock returns the time, in the time zone of the output.
func (e *env) clock() time.Time {
	if e.now != nil {
		return e.now()
	}
	return time.Now()
}

// stamp formats a time in the time zone of the output, with that zone.
func (e *env) stamp(t time.Time) string { return t.In(e.clock().Location()).Format(time.RFC3339) }
