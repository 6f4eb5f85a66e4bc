// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

// SweepInterval is how often a finder looks at a namespace of the policy: a quarter of its shortest grace,
// within a second and a minute; zero where nothing is ever destroyed, so that there is nothing to look for.
func SweepInterval(p policy.Policy) time.Duration {
	shortest := ShortestGrace(p)
	if p.Mode == policy.Off || shortest == policy.Never {
		return 0
	}
	return min(max(time.Duration(shortest)/4, time.Second), time.Minute)
}

// ShortestGrace is the shorter of the policy's two graces.
func ShortestGrace(p policy.Policy) policy.Grace { return min(p.CloseWaitGrace, p.FinWait2Grace) }
