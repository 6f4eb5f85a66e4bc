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
	Patience time.Duration // the shortest that any of its sockets may get
}

// NewNetns returns the network namespace with the interval and the patience that its policies ask for.
func NewNetns(id netns.Identity, paths []string, policies []policy.Policy) Netns {
	return Netns{Identity: id, Paths: paths, Interval: SweepInterval(policies), Patience: time.Duration(shortest(policies))}
}

// SweepInterval returns how often a finder looks in a network namespace with the policies: a quarter of the shortest
// patience, but at most once a second and at least once a minute. It returns 0 if nothing can come of any socket, so
// that there is nothing to look for.
func SweepInterval(policies []policy.Policy) time.Duration {
	patience := shortest(policies)
	if patience == policy.Never {
		return 0
	}
	return min(max(time.Duration(patience)/4, time.Second), time.Minute)
}

// shortest returns the shortest patience that any socket may get. The policies' sentences are joined to the latest
// times, so that is the longest of what each would give.
func shortest(policies []policy.Policy) policy.Patience {
	if len(policies) == 0 {
		return policy.Never
	}
	var longest policy.Patience
	for i := range policies {
		longest = max(longest, policies[i].Shortest())
	}
	return longest
}
