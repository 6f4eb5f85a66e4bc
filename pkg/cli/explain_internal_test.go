// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
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
	x := explanation{Sockets: []api.SocketView{
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
