// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestSweepInterval(t *testing.T) {
	with := func(change func(*policy.Policy)) policy.Policy {
		p := policy.Policy{
			Mode: policy.Destroy, CloseWaitGrace: policy.Never, FinWait2Grace: policy.Never, ProbeAfter: policy.Never, PendingGrace: policy.Never,
		}
		change(&p)
		return p
	}
	grace := func(d time.Duration) policy.Policy {
		return with(func(p *policy.Policy) { p.CloseWaitGrace = policy.Patience(d) })
	}
	for name, tc := range map[string]struct {
		policies []policy.Policy
		want     time.Duration
	}{
		"a quarter of the shortest grace":        {[]policy.Policy{grace(40 * time.Second)}, 10 * time.Second},
		"whichever state that is of":             {[]policy.Policy{with(func(p *policy.Policy) { p.FinWait2Grace = policy.Patience(40 * time.Second) })}, 10 * time.Second},
		"or of the time until its peer is asked": {[]policy.Policy{with(func(p *policy.Policy) { p.ProbeAfter = policy.Patience(40 * time.Second) })}, 10 * time.Second},
		"when observing too":                     {[]policy.Policy{with(func(p *policy.Policy) { p.Mode, p.FinWait2Grace = policy.Observe, policy.Patience(40*time.Second) })}, 10 * time.Second},
		"no more than once a second":             {[]policy.Policy{grace(time.Second)}, time.Second},
		"at least once a minute":                 {[]policy.Policy{grace(24 * time.Hour)}, time.Minute},
		"at least once a minute for a huge one":  {[]policy.Policy{grace(time.Duration(policy.Never - 1))}, time.Minute},
		"not at all where no patience ends":      {[]policy.Policy{grace(time.Duration(policy.Never))}, 0},
		"not at all in mode off":                 {[]policy.Policy{with(func(p *policy.Policy) { p.Mode, p.FinWait2Grace = policy.Off, policy.Patience(time.Second) })}, 0},
		"not at all without a policy":            {nil, 0},
		"the longest of several policies":        {[]policy.Policy{grace(4 * time.Second), grace(40 * time.Second)}, 10 * time.Second},
		"not at all if one never ends":           {[]policy.Policy{grace(4 * time.Second), grace(time.Duration(policy.Never))}, 0},
	} {
		if got := finder.SweepInterval(tc.policies); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestRepairFollowsTheShortestGrace(t *testing.T) {
	with := func(grace, probeAfter time.Duration) policy.Policy {
		p := policy.Default()
		p.CloseWaitGrace, p.ProbeAfter = policy.Patience(grace), policy.Patience(probeAfter)
		return p
	}
	for name, tc := range map[string]struct {
		policies []policy.Policy
		want     time.Duration
	}{
		"a short time until its peer is asked does not": {[]policy.Policy{with(time.Hour, time.Second)}, time.Minute},
		"a grace under four minutes does":               {[]policy.Policy{with(2*time.Minute, time.Hour)}, 30 * time.Second},
		"the shortest grace at most once a second":      {[]policy.Policy{with(time.Second, time.Hour)}, time.Second},
		"the longest of several policies counts":        {[]policy.Policy{with(time.Second, time.Hour), with(time.Hour, time.Hour)}, time.Minute},
	} {
		if got := finder.NewNetns(netns.Identity{}, nil, tc.policies).Repair; got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
