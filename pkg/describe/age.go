// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Age formats a duration that has passed in two units at most: "1.5s", "9m5s", "26h", "4d3h". A negative one is "0s". Up to an
// hour it is the same as policy.FormatAge, which keeps the seconds above.
func Age(s api.Seconds) string {
	d := max(0, time.Duration(s))
	switch {
	case d < time.Hour:
		return policy.FormatAge(d)
	case d < 100*time.Hour:
		d = d.Round(time.Minute)
	default:
		hours := int64(d.Round(time.Hour) / time.Hour)
		if hours%24 == 0 {
			return fmt.Sprintf("%dd", hours/24)
		}
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	}
	return policy.FormatDuration(d)
}
