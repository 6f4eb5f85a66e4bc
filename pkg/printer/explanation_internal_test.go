// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestTheNextStepIsNotPartOfTheVerdict(t *testing.T) {
	for why, want := range map[string][2]string{
		"idle for 9s of its 1m30s grace (policy.yaml:shop (line 3)); its peer is asked in 11s; it is destroyed in 1m21s": {
			"idle for 9s of its 1m30s grace (policy.yaml:shop (line 3))", "its peer is asked in 11s; it is destroyed in 1m21s",
		},
		"its owner has 5 bytes still to read; it may be destroyed, depending on its owner, in 1h": {
			"its owner has 5 bytes still to read", "it may be destroyed, depending on its owner, in 1h",
		},
		"no process owns it": {"no process owns it", ""},
	} {
		reason, next := splitWhy(why)
		if diff := cmp.Diff(want, [2]string{reason, next}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", why, diff)
		}
	}
}

func TestSocketsThatAreAlikeAreExplainedOnce(t *testing.T) {
	socket := func(local, peer string, v policy.Reason) api.SocketView {
		return api.SocketView{State: inetdiag.CloseWait, Role: policy.RoleServer, Local: local, Peer: peer, Verdict: v}
	}
	x := Explanation{Sockets: []api.SocketView{
		socket("10.0.0.2:80", "10.0.0.3:1", policy.Destroyable), socket("10.0.0.2:80", "10.0.0.3:2", policy.Progressing),
		socket("10.0.0.2:80", "10.0.0.3:3", policy.Destroyable), socket("10.0.0.2:81", "10.0.0.3:4", policy.Destroyable),
	}}
	x.groupAlike()
	var peers []string
	for i := range x.Sockets {
		peers = append(peers, x.Sockets[i].Peer)
	}
	if diff := cmp.Diff([]string{"10.0.0.3:1", "10.0.0.3:2", "10.0.0.3:4"}, peers); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 0, 0}, x.alike); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestALimitCountsTheSocketsThatItLeavesOut(t *testing.T) {
	var list []api.SocketView
	for i := range 12 { // 10 are alike, and the last two are not
		list = append(list, api.SocketView{State: inetdiag.CloseWait, Role: policy.RoleServer, Local: "10.0.0.2:" + strconv.Itoa(max(80, 71+i))})
	}
	slices.Reverse(list) // the group of many comes last
	for _, tt := range []struct {
		name             string
		limit            int
		groups           bool
		sockets, omitted int
	}{
		{"each socket counts", 5, false, 5, 7},
		{"a group counts as one socket", 3, true, 3, 0},
		{"the sockets of a group beyond the limit count too", 2, true, 2, 10},
		{"a limit above the number", 100, true, 3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := Explanation{Sockets: slices.Clone(list)}
			x.Limit(tt.limit, tt.groups)
			if len(x.Sockets) != tt.sockets || x.Omitted != tt.omitted {
				t.Errorf("%d sockets and %d omitted, want %d and %d", len(x.Sockets), x.Omitted, tt.sockets, tt.omitted)
			}
		})
	}
}
