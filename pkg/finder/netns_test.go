// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestSweepInterval(t *testing.T) {
	for name, tc := range map[string]struct {
		closeWait, finWait2 policy.Grace
		mode                policy.Mode
		want                time.Duration
	}{
		"a quarter of the shortest grace":       {policy.Grace(40 * time.Second), policy.Grace(time.Hour), policy.Destroy, 10 * time.Second},
		"whichever state that is of":            {policy.Never, policy.Grace(40 * time.Second), policy.Destroy, 10 * time.Second},
		"when observing too":                    {policy.Never, policy.Grace(40 * time.Second), policy.Observe, 10 * time.Second},
		"no more than once a second":            {policy.Grace(time.Second), policy.Never, policy.Destroy, time.Second},
		"at least once a minute":                {policy.Grace(24 * time.Hour), policy.Never, policy.Destroy, time.Minute},
		"not at all where no grace ever ends":   {policy.Never, policy.Never, policy.Destroy, 0},
		"not at all in mode off":                {policy.Grace(time.Second), policy.Never, policy.Off, 0},
		"at least once a minute for a huge one": {policy.Never - 1, policy.Never, policy.Destroy, time.Minute},
	} {
		if got := finder.SweepInterval(policy.Policy{CloseWaitGrace: tc.closeWait, FinWait2Grace: tc.finWait2, Mode: tc.mode}); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
