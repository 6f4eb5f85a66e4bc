// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestAutoSelectsBPFIfItsProgramsLoad(t *testing.T) {
	t.Parallel()
	why := errors.New("the kernel has no BTF")
	for name, tc := range map[string]struct {
		ask, want string
		load      error
		text, err string
	}{
		"auto selects bpf":                 {finder.NameAuto, finder.NameBPF, nil, "", ""},
		"auto falls back and reports why":  {finder.NameAuto, finder.NameSockDiag, why, why.Error(), ""},
		"bpf":                              {finder.NameBPF, finder.NameBPF, nil, "", ""},
		"bpf without programs is an error": {finder.NameBPF, "", why, "", "use --finder auto or sockdiag"},
		"sockdiag without programs":        {finder.NameSockDiag, finder.NameSockDiag, why, "", ""},
		"sockdiag does not load programs":  {finder.NameSockDiag, finder.NameSockDiag, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loaded := false
			s, err := finder.Select(tc.ask, func() (*finder.Loader, error) {
				loaded = true
				return finder.NewLoader(func() (finder.LoadedPrograms, error) { return nil, tc.load })
			}, finder.Config{Clock: monotime.Fake{}, CPUBudget: 1})
			if tc.err != "" {
				if !errors.Is(err, why) || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("the error is %v, want %v with %q", err, why, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if loaded == (tc.ask == finder.NameSockDiag) {
				t.Errorf("programs were loaded: %v", loaded)
			}
			if got := firstState(t, s.Finder); got.Name != tc.want || !strings.Contains(got.Why, tc.text) || (tc.text == "") != (got.Why == "") {
				t.Errorf("the state is %+v, want %s and the reason %q", got, tc.want, tc.text)
			}
		})
	}
}

// firstState returns the first State of a finder.
func firstState(t *testing.T, f finder.Finder) (first finder.State) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	sink := onState{func(s finder.State) { first = s; stop() }}
	if err := f.Find(ctx, nil, sink); err != nil {
		t.Fatal(err)
	}
	return first
}

// onState is the sink of a finder that only reports its State.
type onState struct {
	state func(finder.State)
}

func (s onState) State(state finder.State)        { s.state(state) }
func (onState) Seen([]finder.Seen)                {}
func (onState) Swept(finder.Sweep)                {}
func (onState) Failed(id netns.Identity, _ error) {}
func (onState) Cost(finder.Cost)                  {}
