// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestEachOwnerNameIsJudgedOnce(t *testing.T) {
	p := Default()
	p.Exempt = []Match{{Commands: []string{"keep"}}}
	for name, tt := range map[string]struct {
		owners []string
		want   int
	}{
		"one":                               {[]string{"a"}, 1},
		"many of one name":                  {[]string{"a", "a", "a", "a"}, 1},
		"two names in turn":                 {[]string{"a", "b", "a", "b", "a", "b"}, 2},
		"names that differ beyond 15 bytes": {[]string{"fifteen-bytes-1x", "fifteen-bytes-1y"}, 1},
		"all different":                     {[]string{"a", "b", "c"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{OwnersKnown: true, OwnersComplete: true}
			for _, command := range tt.owners {
				f.Owners = append(f.Owners, Owner{Command: command})
			}
			x := examination{policy: &p, h: &History{}, s: &inetdiag.Socket{State: inetdiag.CloseWait}, f: f}
			if x.judgePolicy(); x.searches != tt.want {
				t.Errorf("%d searches, want %d", x.searches, tt.want)
			}
		})
	}
}
