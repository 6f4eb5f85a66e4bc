// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Age is a time that has passed, rounded as in the reasons of a verdict and without the units that are zero at its end.
// A time below 0 is 0s.
func Age(s api.Seconds) string {
	return policy.FormatDuration(max(0, policy.Age(time.Duration(s))))
}

// ShortAge is an age in two units at most.
func ShortAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
