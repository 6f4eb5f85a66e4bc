// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package flagvalue_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/flagvalue"
)

func TestSinceIsParsed(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 1, 9, 30, 0, 0, berlin)
	for text, want := range map[string]time.Time{
		"0s":                        now,
		"10m":                       now.Add(-10 * time.Minute),
		"1h30m":                     now.Add(-90 * time.Minute),
		"09:30":                     now,
		"09:15":                     now.Add(-15 * time.Minute),
		"9:15":                      now.Add(-15 * time.Minute),
		"09:15:30":                  now.Add(-14*time.Minute - 30*time.Second),
		"23:00":                     time.Date(2026, 2, 28, 23, 0, 0, 0, berlin), // of the day before
		"now":                       now,
		"2d":                        now.Add(-48 * time.Hour),
		"1w2d3h":                    now.Add(-(9*24 + 3) * time.Hour),
		"today":                     time.Date(2026, 3, 1, 0, 0, 0, 0, berlin),
		"today 09:00":               time.Date(2026, 3, 1, 9, 0, 0, 0, berlin),
		"yesterday":                 time.Date(2026, 2, 28, 0, 0, 0, 0, berlin),
		"yesterday 23:00":           time.Date(2026, 2, 28, 23, 0, 0, 0, berlin),
		"2026-02-28":                time.Date(2026, 2, 28, 0, 0, 0, 0, berlin),
		"2026-02-28 09:30":          time.Date(2026, 2, 28, 9, 30, 0, 0, berlin),
		"2026-02-28T09:30:05":       time.Date(2026, 2, 28, 9, 30, 5, 0, berlin),
		"2026-02-28T22:00:00Z":      time.Date(2026, 2, 28, 22, 0, 0, 0, time.UTC),
		"2026-02-28T22:00:00+05:00": time.Date(2026, 2, 28, 17, 0, 0, 0, time.UTC),
	} {
		if got, err := flagvalue.ParseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-10m", "10", "yesterday23:00", "tomorrow", "24:00", "12:60", "2026-02-30", "d", "1d1w", "99999999999d", "today 10:00", "2026-03-01 09:31", "2027-01-01"} {
		if got, err := flagvalue.ParseSince(text, now); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func FuzzSinceIsNotInTheFuture(f *testing.F) {
	for _, text := range []string{"10m", "09:15", "23:59:59", "2026-02-28T22:00:00Z", "-1h", "9999999h", "1w2d", "yesterday 23:00", "2026-02-28 09:30"} {
		f.Add(text, int64(1772353800))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		now := time.Unix(unix%(1<<35), 0).UTC()
		at, err := flagvalue.ParseSince(text, now)
		if err == nil && at.After(now) {
			t.Errorf("%q is %v at %v", text, at, now)
		}
	})
}
