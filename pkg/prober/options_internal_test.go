// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"testing"
	"time"
)

func TestArmedValuesFollowTheIdleTime(t *testing.T) {
	t.Parallel()
	for idle, want := range map[time.Duration]int32{
		0: 1, 499 * time.Millisecond: 1, 500 * time.Millisecond: 2, 1400 * time.Millisecond: 2, 1500 * time.Millisecond: 3,
		5200 * time.Millisecond: 6, 90 * time.Second: 91, 90600 * time.Millisecond: 92, 100 * time.Hour: maxKeepSeconds,
	} {
		if d := time.Duration(want)*time.Second - idle; idle < time.Hour && (d < firstProbeDelay || d > lastProbeDelay) {
			t.Errorf("idle for %v: the first probe leaves after %v", idle, d)
		}
		if got := armedValues(6, 10*time.Second, idle); got != (values{1, want, 10, 6, 0}) {
			t.Errorf("idle for %v: %v, want TCP_KEEPIDLE %d", idle, got, want)
		}
	}
	if got := armedValues(0, 0, 0); got != (values{1, 1, 1, 1, 0}) {
		t.Errorf("no count and no interval: %v", got)
	}
	if got := armedValues(1000, 100*time.Hour, 0); got != (values{1, 1, maxKeepSeconds, maxKeepCount, 0}) {
		t.Errorf("too many probes, too far apart: %v", got)
	}
}

func TestOnlyAShorterOwnKeepaliveIsUsed(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		v    values
		want bool
	}{
		{values{0, 15, 5, 4, 0}, false}, {values{1, 15, 5, 4, 0}, true}, {values{1, 90, 5, 4, 0}, false}, {values{1, 7200, 75, 9, 0}, false},
	} {
		if got := x.v.asksAlready(90 * time.Second); got != x.want {
			t.Errorf("%v: %v, want %v", x.v, got, x.want)
		}
	}
}

func TestRestorationKeepsWhatTheApplicationHasChanged(t *testing.T) {
	t.Parallel()
	off := values{0, 7200, 75, 9, 0}
	armed := values{1, 89, 10, 6, 0}
	for name, x := range map[string]struct {
		saved, now, want values
	}{
		"nothing changed":                        {off, armed, off},
		"never armed":                            {off, off, off},
		"never armed, keepalive on since":        {off, values{1, 7200, 75, 9, 0}, values{1, 7200, 75, 9, 0}},
		"killed after the first option":          {off, values{0, 7200, 10, 9, 0}, off},
		"killed after the second":                {off, values{0, 7200, 10, 6, 0}, off},
		"killed before the last":                 {off, values{1, 7200, 10, 6, 0}, off},
		"restored already":                       {off, off, off},
		"killed after the first of restoring":    {off, values{0, 89, 10, 6, 0}, off},
		"the application's keepalive was on":     {values{1, 600, 75, 9, 0}, armed, values{1, 600, 75, 9, 0}},
		"the application turned it off":          {values{1, 600, 75, 9, 0}, values{0, 89, 10, 6, 0}, values{0, 600, 75, 9, 0}},
		"the application set an idle time":       {off, values{1, 30, 10, 6, 0}, values{1, 30, 75, 9, 0}},
		"the application set an interval":        {off, values{1, 89, 31, 6, 0}, values{1, 7200, 31, 9, 0}},
		"the application set all":                {off, values{1, 30, 31, 32, 33}, values{1, 30, 31, 32, 33}},
		"the application set a user timeout":     {off, values{1, 89, 10, 6, 5000}, values{0, 7200, 75, 9, 5000}},
		"a user timeout was set":                 {values{0, 7200, 75, 9, 5000}, armed, values{0, 7200, 75, 9, 5000}},
		"sysctls were above the limits":          {values{0, 86400, 40000, 200, 0}, armed, values{0, 32767, 32767, 127, 0}},
		"an interval of ours was saved, for all": {values{0, 89, 10, 6, 0}, armed, values{0, 89, 10, 6, 0}},
	} {
		set, value := restoration(&x.now, &x.saved, &armed)
		got := x.now
		for o := range optionCount {
			if set[o] {
				got[o] = value[o]
			}
		}
		if got != x.want {
			t.Errorf("%s: %v becomes %v, want %v", name, x.now, got, x.want)
		}
	}
}

func TestFirstProbeHasTheArmedValues(t *testing.T) {
	t.Parallel()
	if got, want := armingOrder(), [...]option{keepIntvl, keepCount, userTimeout, keepalive, keepIdle}; got != want {
		t.Errorf("armed in the order %v, want %v", got, want)
	}
}

func TestARefusedOptionIsRestoredAtTheNextAttempt(t *testing.T) {
	t.Parallel()
	saved, armed := values{0, 7200, 75, 9, 30_000}, values{1, 6, 10, 6, 0}
	for refused := range optionCount {
		now, refusal := armed, errors.New("refused")
		set := func(o option, value int32) error {
			if o == refused && refusal != nil {
				return refusal
			}
			now[o] = value
			return nil
		}
		if err := setBack(&now, &saved, &armed, set); !errors.Is(err, refusal) {
			t.Errorf("option %d is refused, and the error is %v", refused, err)
		}
		refusal = nil
		if err := setBack(&now, &saved, &armed, set); err != nil || now != saved {
			t.Errorf("after option %d was refused once: %v, %v, want %v", refused, now, err, saved)
		}
	}
}
