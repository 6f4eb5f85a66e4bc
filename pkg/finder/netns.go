// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"time"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Netns is a network namespace as far as a finder needs to know it. It is a value: its Paths are not changed
// once a finder has it.
type Netns struct {
	Identity netns.Identity
	Paths    []string      // where it may be found, the likeliest first
	Interval time.Duration // how often a finder looks in it; 0 if there is nothing to look for
	Grace    time.Duration // the shortest grace of its policy
}

// NewNetns returns the network namespace with the interval and the grace that the policy asks for.
func NewNetns(id netns.Identity, paths []string, p policy.Policy) Netns {
	return Netns{Identity: id, Paths: paths, Interval: SweepInterval(p), Grace: time.Duration(shortestGrace(p))}
}

// SweepInterval returns how often a finder looks in a network namespace with the policy: a quarter of its
// shortest grace, but at most once a second and at least once a minute. It returns 0 if the policy destroys
// nothing, so that there is nothing to look for.
func SweepInterval(p policy.Policy) time.Duration {
	shortest := shortestGrace(p)
	if p.Mode == policy.Off || shortest == policy.Never {
		return 0
	}
	return min(max(time.Duration(shortest)/4, time.Second), time.Minute)
}

func shortestGrace(p policy.Policy) policy.Grace { return min(p.CloseWaitGrace, p.FinWait2Grace) }
