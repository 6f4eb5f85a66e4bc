// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

const minute = policy.Patience(time.Minute)

func TestPatienceText(t *testing.T) {
	for text, want := range map[string]struct {
		grace policy.Patience
		back  string
	}{
		"10m":                      {10 * minute, "10m"},
		"90m":                      {90 * minute, "1h30m"},
		"24h":                      {24 * 60 * minute, "24h"},
		"10m10s":                   {10*minute + minute/6, "10m10s"},
		"100s":                     {100 * minute / 60, "1m40s"},
		"1.5s":                     {minute / 40, "1.5s"},
		"1ns":                      {1, "1ns"},
		"never":                    {policy.Never, "never"},
		"2562047h47m16.854775807s": {policy.Never, "never"},
		"2562047h47m16.854775806s": {policy.Never - 1, "2562047h47m16.854775806s"},
		"+5m":                      {5 * minute, "5m"},
		"1h0m0s":                   {60 * minute, "1h"},
		"1h0m10s":                  {60*minute + minute/6, "1h0m10s"},
	} {
		var got policy.Patience
		err := got.UnmarshalText([]byte(text))
		if err != nil || got != want.grace || got.String() != want.back {
			t.Errorf("%q is %s (%d), %v; want %s (%d)", text, got, got, err, want.back, want.grace)
		}
	}
	if policy.Never != math.MaxInt64 {
		t.Errorf("never is %d", policy.Never)
	}
}

func TestInvalidPatienceTexts(t *testing.T) {
	for text, want := range map[string]string{
		"600":                     `"600" has no unit: write "600s"`,
		"1.5":                     `"1.5" has no unit: write "1.5s"`,
		"0":                       `"0" is too short: want more than 0, or "never"`,
		"0s":                      `"0s" is too short: want more than 0, or "never"`,
		"-5m":                     `"-5m" is too short: want more than 0, or "never"`,
		"2d":                      `"2d": Go durations have no days: write "48h"`,
		"Never":                   `"Never" is not a duration, did you mean "never"?`,
		"9999999999999999999999h": `"9999999999999999999999h" is longer than a duration can be: write "never"`,
		"":                        `"" is not a duration: want a duration such as "10m", or "never" (units are h, m, s, ms, us and ns)`,
		"10 m":                    `"10 m" is not a duration: want a duration such as "10m", or "never" (units are h, m, s, ms, us and ns)`,
	} {
		g := minute
		err := g.UnmarshalText([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if g != minute {
			t.Errorf("%q changed the grace to %s", text, g)
		}
	}
}

func TestGraceOfState(t *testing.T) {
	p := policy.Policy{CloseWaitGrace: minute, FinWait2Grace: 2 * minute}
	for s := inetdiag.Established; s <= inetdiag.BoundInactive; s++ {
		want := policy.Never
		switch s {
		case inetdiag.CloseWait:
			want = minute
		case inetdiag.FinWait2:
			want = 2 * minute
		}
		if got := p.Grace(s); got != want {
			t.Errorf("%s has the grace %s, want %s", s, got, want)
		}
		if got := new(policy.Policy{}).Grace(s); got != policy.Never {
			t.Errorf("%s has the grace %s in a policy that was never set", s, got)
		}
	}
}
