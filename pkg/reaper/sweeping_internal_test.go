// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestSweepingLagsOnlyWhereItIsAskedFor(t *testing.T) {
	const late = 2 * time.Minute // more than any interval
	for name, tc := range map[string]struct {
		late   time.Duration
		change func(*policy.Policy)
		want   time.Duration
	}{
		"in time":                      {late: time.Millisecond, change: func(*policy.Policy) {}},
		"late":                         {late: late, change: func(*policy.Policy) {}, want: late},
		"in time, and then turned off": {late: time.Millisecond, change: func(p *policy.Policy) { p.Mode = policy.Off }},
		"late, and then never to be": {late: late, change: func(p *policy.Policy) {
			p.CloseWaitGrace, p.FinWait2Grace = policy.Never, policy.Never
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			r := recordOf(1, "eth0")
			r.Netns.Identity, r.Policy = ns.id, *ns.policy
			l.counted(census{records: []state.Record{r}})
			l.found(finder.Finding{Namespace: ns.id, Swept: now(), Late: tc.late})
			tc.change(&r.Policy)
			l.counted(census{records: []state.Record{r}})
			l.keepingUp(now())
			if l.sweeping.late != tc.want || l.sweeping.said != (tc.want > 0) {
				t.Errorf("it lags by %v, and that was said: %v; want %v", l.sweeping.late, l.sweeping.said, tc.want)
			}
		})
	}
}
