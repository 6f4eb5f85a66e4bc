// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package flagvalue

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TimeHelp describes the values of --since and --until.
const TimeHelp = `30m, 2d, 23:00, yesterday, "2006-01-02 15:04"`

// ParseSince parses --since: a time that is not in the future.
func ParseSince(text string, now time.Time) (time.Time, error) {
	at, err := ParseTime("--since", text, now)
	if err == nil && at.After(now) {
		return time.Time{}, fmt.Errorf("--since %s is in the future", text)
	}
	return at, err
}

// ParseTime parses the value of a flag: a duration before now, a time of day within the last 24 hours, a day, or a date and
// time, in the time zone of now unless it has its own.
func ParseTime(flag, text string, now time.Time) (time.Time, error) {
	if d, ok := parseAgo(text); ok {
		return now.Add(-d), nil
	}
	year, month, day := now.Date()
	for name, days := range map[string]int{"today": 0, "yesterday": 1} {
		rest, ok := strings.CutPrefix(text, name)
		if !ok {
			continue
		}
		if rest == "" {
			return time.Date(year, month, day-days, 0, 0, 0, 0, now.Location()), nil
		}
		if clock, ok := parseClock(strings.TrimPrefix(rest, " ")); ok && rest[0] == ' ' {
			return onDay(clock, time.Date(year, month, day-days, 0, 0, 0, 0, now.Location())), nil
		}
	}
	if clock, ok := parseClock(text); ok {
		at := onDay(clock, now)
		if at.After(now) {
			at = onDay(clock, time.Date(year, month, day-1, 0, 0, 0, 0, now.Location()))
		}
		return at, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%s: want a time such as %s or 2006-01-02T15:04:05Z, not %q", flag, TimeHelp, text)
}

// maxAgo bounds the days and weeks of a duration.
const maxAgo = 100 * 365 * 24 * time.Hour

// parseAgo parses a duration: of package time, with weeks and days before it, such as 2d or 1w12h.
func parseAgo(text string) (total time.Duration, ok bool) {
	if text == "now" {
		return 0, true
	}
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, rest, found := strings.Cut(text, unit.letter)
		n, err := strconv.ParseUint(digits, 10, 31)
		if !found || err != nil {
			continue
		}
		if n > uint64(maxAgo/unit.length) {
			return 0, false
		}
		total += time.Duration(n) * unit.length //nolint:gosec // bounded by maxAgo
		if text = rest; text == "" {
			return total, true
		}
	}
	d, err := time.ParseDuration(text)
	return total + d, err == nil && d >= 0 && total+d >= 0
}

// parseClock parses a time of day.
func parseClock(text string) (time.Time, bool) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// onDay returns the time of day on a day.
func onDay(clock, day time.Time) time.Time {
	year, month, d := day.Date()
	return time.Date(year, month, d, clock.Hour(), clock.Minute(), clock.Second(), 0, day.Location())
}
