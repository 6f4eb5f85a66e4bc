// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Patience is a time that a policy gives a half-closed socket, in nanoseconds. Its text form is a Go duration ("10m",
// "1h30m") or "never". A patience that is not positive is invalid: no text form decodes to one, and the judgement treats it
// as Never.
type Patience time.Duration

// Never is the patience that never ends.
const Never Patience = math.MaxInt64

// orNever returns the effective patience: Never if it is not positive, such as one that was not set.
func (p Patience) orNever() Patience {
	if p <= 0 {
		return Never
	}
	return p
}

const patienceExample = `a duration such as "10m", or "never"`

// String returns the patience as FormatDuration writes it, or "never".
func (p Patience) String() string {
	if p == Never {
		return "never"
	}
	return FormatDuration(time.Duration(p))
}

// FormatDuration formats a duration as Go does, without trailing zero units: "10m" instead of "10m0s".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// FormatAge formats a duration that has passed as FormatDuration does, rounded to a tenth of a second below a minute and to
// a second above. It never uses days: an age stands beside a grace, which has none.
func FormatAge(d time.Duration) string {
	if d < time.Minute {
		return FormatDuration(d.Round(100 * time.Millisecond))
	}
	return FormatDuration(d.Round(time.Second))
}

// MarshalText returns the text of String.
func (p Patience) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses a positive Go duration or "never". Its error for any other text contains a correction.
func (p *Patience) UnmarshalText(text []byte) error {
	parsed, err := parsePatience(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

func parsePatience(s string) (Patience, error) {
	if s == "never" {
		return Never, nil
	}
	d, err := time.ParseDuration(s)
	switch {
	case err == nil && d > 0:
		return Patience(d), nil
	case err == nil:
		return 0, fmt.Errorf(`%s is too short: want more than 0, or "never"`, quote(s))
	}
	if seconds, ok := addUnit(s); ok {
		return 0, fmt.Errorf("%s has no unit: write %q", quote(s), seconds)
	}
	if hours, ok := daysAsHours(s); ok {
		return 0, fmt.Errorf("%s: Go durations have no days: write %q", quote(s), hours)
	}
	if near, ok := Nearest(s, []string{"never"}); ok {
		return 0, fmt.Errorf("%s is not a duration, did you mean %q?", quote(s), near)
	}
	if isDurationTooLong(s) {
		return 0, fmt.Errorf(`%s is longer than a duration can be: write "never"`, quote(s))
	}
	return 0, fmt.Errorf("%s is not a duration: want %s (units are h, m, s, ms, us and ns)", quote(s), patienceExample)
}

// addUnit turns a plain positive number into that many seconds.
func addUnit(s string) (string, bool) {
	if strings.Trim(s, "0123456789.") != "" {
		return "", false
	}
	withUnit := s + "s"
	d, err := time.ParseDuration(withUnit)
	return withUnit, err == nil && d > 0
}

func daysAsHours(s string) (string, bool) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return "", false
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || n == 0 {
		return "", false
	}
	return strconv.FormatUint(n*24, 10) + "h", true
}

// isDurationTooLong reports whether s is a number with one unit that time.ParseDuration refuses only for its size.
func isDurationTooLong(s string) bool {
	number := strings.TrimRight(s, "hmsunµ")
	if number == s {
		return false
	}
	if _, err := time.ParseDuration("1" + s[len(number):]); err != nil {
		return false
	}
	_, err := strconv.ParseUint(number, 10, 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}
