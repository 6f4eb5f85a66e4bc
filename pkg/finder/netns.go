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
	Paths    []string // that may lead to it, the likeliest first
	// Recorded is when it was recorded last; zero if unknown. On a kernel without netns cookies, a namespace that was mounted
	// at a path later is another one.
	Recorded time.Time
	Interval time.Duration // between two sweeps; 0 if no policy acts on any socket
	Patience time.Duration // the shortest of any of its sockets
	Grace    time.Duration // the shortest grace of any of its sockets
	// Repair is the interval at which a finder with notifications reads all sockets, to find those without one. 0 is Interval.
	Repair time.Duration
}

// NewNetns returns the network namespace with the intervals and the patience of its policies.
func NewNetns(id netns.Identity, paths []string, policies []policy.Policy) Netns {
	grace := longest(policies, (*policy.Policy).ShortestGrace)
	return Netns{
		Identity: id, Paths: paths, Interval: SweepInterval(policies),
		Patience: time.Duration(longest(policies, (*policy.Policy).Shortest)), Grace: time.Duration(grace),
		// A socket without a notification gets its whole patience once it is found, so a probe of its peer can wait.
		Repair: quarter(grace),
	}
}

// SweepInterval returns the interval between two sweeps of a network namespace with the policies: a quarter of the shortest
// patience, from a second to a minute. It returns 0 if no policy acts on any socket.
func SweepInterval(policies []policy.Policy) time.Duration {
	patience := longest(policies, (*policy.Policy).Shortest)
	if patience == policy.Never {
		return 0
	}
	return quarter(patience)
}

// quarter returns a quarter of a patience, from a second to a minute.
func quarter(p policy.Patience) time.Duration {
	return min(max(time.Duration(p)/4, time.Second), time.Minute)
}

// longest returns the longest patience of several policies, because their sentences are joined to the latest times. It returns
// Never for no policies.
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
