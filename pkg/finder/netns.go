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
	// Repair is how often a finder that is notified of sockets reads all of them, for those it was not notified of. 0 is
	// Interval.
	Repair time.Duration
}

// NewNetns returns the network namespace with the interval and the patience that its policies ask for.
func NewNetns(id netns.Identity, paths []string, policies []policy.Policy) Netns {
	return Netns{
		Identity: id, Paths: paths, Interval: SweepInterval(policies),
		Patience: time.Duration(longest(policies, (*policy.Policy).Shortest)), Repair: repairInterval(policies),
	}
}

// SweepInterval returns how often a finder looks in a network namespace with the policies: a quarter of the shortest
// patience, but at most once a second and at least once a minute. It returns 0 if nothing can come of any socket, so
// that there is nothing to look for.
func SweepInterval(policies []policy.Policy) time.Duration {
	patience := longest(policies, (*policy.Policy).Shortest)
	if patience == policy.Never {
		return 0
	}
	return quarter(patience)
}

// repairInterval returns a quarter of the shortest grace, but at most once a second and at least once a minute. A socket
// that a finder was not notified of has its whole patience before it once it is found, so a question can wait.
func repairInterval(policies []policy.Policy) time.Duration {
	return quarter(longest(policies, (*policy.Policy).ShortestGrace))
}

// quarter returns a quarter of a patience, from a second to a minute.
func quarter(p policy.Patience) time.Duration {
	return min(max(time.Duration(p)/4, time.Second), time.Minute)
}

// longest returns what counts of a patience of several policies, Never of none: their sentences are joined to the latest
// times.
func longest(policies []policy.Policy, patience func(*policy.Policy) policy.Patience) policy.Patience {
	if len(policies) == 0 {
		return policy.Never
	}
	var most policy.Patience
	for i := range policies {
		most = max(most, patience(&policies[i]))
	}
	return most
}
