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

// Grace is how long a socket may be half-closed without progress, in nanoseconds. Its text form is a Go
// duration ("10m", "1h30m") or "never". A grace that is not positive is invalid: no text form decodes to one,
// and Policy.Grace takes it for Never.
type Grace time.Duration

// Never is the grace of a socket that is never destroyed.
const Never Grace = math.MaxInt64

const graceExample = `a duration such as "10m", or "never"`

// String returns the grace as FormatDuration writes it, or "never".
func (g Grace) String() string {
	if g == Never {
		return "never"
	}
	return FormatDuration(time.Duration(g))
}

// FormatDuration writes a duration as Go does, without the units that are zero at its end: "10m", not "10m0s".
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

// MarshalText returns what String does.
func (g Grace) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText takes a positive Go duration or "never". Anything else is an error that says what to write.
func (g *Grace) UnmarshalText(text []byte) error {
	parsed, err := parseGrace(string(text))
	if err != nil {
		return err
	}
	*g = parsed
	return nil
}

func parseGrace(s string) (Grace, error) {
	if s == "never" {
		return Never, nil
	}
	d, err := time.ParseDuration(s)
	switch {
	case err == nil && d > 0:
		return Grace(d), nil
	case err == nil:
		return 0, fmt.Errorf(`%s is not a grace: want more than 0, or "never"`, quote(s))
	}
	if seconds, ok := addUnit(s); ok {
		return 0, fmt.Errorf("%s has no unit: write %q", quote(s), seconds)
	}
	if hours, ok := daysAsHours(s); ok {
		return 0, fmt.Errorf("%s: Go durations have no days: write %q", quote(s), hours)
	}
	if near, ok := nearest(s, []string{"never"}); ok {
		return 0, fmt.Errorf("%s is not a grace, did you mean %q?", quote(s), near)
	}
	if isDurationTooLong(s) {
		return 0, fmt.Errorf(`%s is longer than a duration can be: write "never"`, quote(s))
	}
	return 0, fmt.Errorf("%s is not a grace: want %s (units are h, m, s, ms, us and ns)", quote(s), graceExample)
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

// isDurationTooLong reports whether s is a number with one unit that time.ParseDuration refuses for its
// size alone.
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
