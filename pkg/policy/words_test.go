// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestMostConservative(t *testing.T) {
	const destroy, observe, off = policy.Destroy, policy.Observe, policy.Off
	for name, tt := range map[string]struct {
		modes []policy.Mode
		want  policy.Mode
	}{
		"of nothing is off":                       {nil, off},
		"of one is that one":                      {[]policy.Mode{destroy}, destroy},
		"observe goes before destroy":             {[]policy.Mode{destroy, observe, destroy}, observe},
		"off goes before all":                     {[]policy.Mode{observe, off, destroy}, off},
		"a mode that was never set counts as off": {[]policy.Mode{destroy, 0}, off},
		"a mode that does not exist is off":       {[]policy.Mode{destroy, 9}, off},
	} {
		t.Run(name, func(t *testing.T) {
			if got := policy.MostConservative(tt.modes...); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestModesAreOrderedByHowConservativeTheyAre(t *testing.T) {
	if policy.Destroy >= policy.Observe || policy.Observe >= policy.Off {
		t.Errorf("want destroy (%d) < observe (%d) < off (%d)", policy.Destroy, policy.Observe, policy.Off)
	}
}

func TestWordsRoundTrip(t *testing.T) {
	type word interface{ MarshalText() ([]byte, error) }
	for want, v := range map[string]word{
		"destroy": policy.Destroy, "observe": policy.Observe, "off": policy.Off,
		"progress": policy.ClockProgress, "state": policy.ClockState, "relax": policy.OverridesRelax, "server": policy.RoleServer,
	} {
		if got, err := v.MarshalText(); err != nil || string(got) != want {
			t.Errorf("%v marshals to %q, %v", v, got, err)
		}
	}
	for _, m := range []policy.Mode{policy.Destroy, policy.Observe, policy.Off} {
		var got policy.Mode
		if err := got.UnmarshalText([]byte(m.String())); err != nil || got != m {
			t.Errorf("%s reads back as %s, %v", m, got, err)
		}
	}
	for _, c := range []policy.Clock{policy.ClockProgress, policy.ClockState} {
		var got policy.Clock
		if err := got.UnmarshalText([]byte(c.String())); err != nil || got != c {
			t.Errorf("%s reads back as %s, %v", c, got, err)
		}
	}
	for _, r := range []policy.Role{policy.RoleUnknown, policy.RoleClient, policy.RoleServer} {
		var got policy.Role
		if err := got.UnmarshalText([]byte(r.String())); err != nil || got != r {
			t.Errorf("%s reads back as %s, %v", r, got, err)
		}
	}
	for _, o := range []policy.PodOverrides{policy.OverridesAny, policy.OverridesRelax, policy.OverridesNone} {
		var got policy.PodOverrides
		if err := got.UnmarshalText([]byte(o.String())); err != nil || got != o {
			t.Errorf("%s reads back as %s, %v", o, got, err)
		}
	}
}

func TestWordsOfANetwork(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"any": policy.OverridesAny, "relax": policy.OverridesRelax, "none": policy.OverridesNone,
		"ignore": policy.Ignore, "fail": policy.Fail, "auto": policy.Auto, "external": policy.External,
	} {
		if got.String() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestInvalidWords(t *testing.T) {
	if _, err := policy.Mode(9).MarshalText(); err == nil {
		t.Error("a mode that does not exist was written")
	}
	if got := policy.Mode(0).String(); got != "off" {
		t.Errorf("a mode that was never set reads %q", got)
	}
	if got := policy.Clock(9).String(); got != "clock 9" {
		t.Errorf("a clock that does not exist reads %q", got)
	}
	m := policy.Observe
	err := m.UnmarshalText([]byte("Destroy"))
	if want := `unknown mode "Destroy", did you mean "destroy"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if m != policy.Observe {
		t.Errorf("a word that was refused changed the mode to %s", m)
	}
	err = m.UnmarshalText([]byte("kill"))
	if want := `unknown mode "kill": want "destroy", "observe" or "off"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
