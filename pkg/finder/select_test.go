// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/finder"
)

func TestAFinderIsChosenByWhatTheKernelLets(t *testing.T) {
	t.Parallel()
	why := errors.New("the kernel does not describe its types")
	for name, tc := range map[string]struct {
		ask, want string
		load      error
		says, err string
	}{
		"auto takes bpf":                          {finder.NameAuto, finder.NameBPF, nil, "", ""},
		"auto makes do without it, and says why":  {finder.NameAuto, finder.NameSockDiag, why, why.Error(), ""},
		"bpf is bpf":                              {finder.NameBPF, finder.NameBPF, nil, "", ""},
		"bpf is not another":                      {finder.NameBPF, "", why, "", "use --finder auto or sockdiag"},
		"sockdiag has no use for programs":        {finder.NameSockDiag, finder.NameSockDiag, why, "", ""},
		"sockdiag does not load them if it could": {finder.NameSockDiag, finder.NameSockDiag, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loaded := false
			s, err := finder.Choose(tc.ask, func() (*finder.Kernel, error) {
				loaded = true
				return finder.NewKernel(func() (finder.Programs, error) { return nil, tc.load })
			}, nil, 1)
			if tc.err != "" {
				if !errors.Is(err, why) || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("the error is %v, want one of %v that says %q", err, why, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if loaded == (tc.ask == finder.NameSockDiag) {
				t.Errorf("programs were loaded: %v", loaded)
			}
			if got := firstState(t, s.Finder); got.Name != tc.want || !strings.Contains(got.Why, tc.says) || (tc.says == "") != (got.Why == "") {
				t.Errorf("the finder says %+v, want %s because %q", got, tc.want, tc.says)
			}
		})
	}
}

// firstState is what a finder says of itself first.
func firstState(t *testing.T, f finder.Finder) (s finder.FinderState) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := f.Find(ctx, nil, func(findings ...finder.Finding) {
		for i := range findings {
			if findings[i].State != nil && s.Name == "" {
				s = *findings[i].State
			}
		}
		stop()
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
