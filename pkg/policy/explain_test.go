// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestExplain(t *testing.T) {
	unread := func(s *inetdiag.Socket) { s.RQueue = 4 }
	for name, tt := range map[string]struct {
		conf   string
		change func(*inetdiag.Socket)
		facts  policy.Facts
		want   string
	}{
		"the base values": {
			conf: `{"probeAfter": "never"}`,
			want: "idle for 10s of its 1h grace (built-in); it is destroyed in 59m50s",
		},
		"an exemption that its owner may have": {
			conf: `{"probeAfter": "never", "exempt": [{"commands": ["keep"]}]}`,
			want: "idle for 10s of its 1h grace (built-in); it may be destroyed, depending on its owner, in 59m50s",
		},
		"a grace of never that its owner may have": {
			conf: `{"probeAfter": "never", "rules": [{"match": {"commands": ["keep"]}, "grace": "never"}]}`,
			want: "idle for 10s of its 1h grace (built-in); it may be destroyed, depending on its owner, in 59m50s",
		},
		"a shorter grace that its owner may have": {
			conf: `{"probeAfter": "never", "rules": [{"match": {"commands": ["keep"]}, "grace": "1m"}]}`,
			want: `idle for 10s of its 1m grace (rules[0], command "keep", network); it may be destroyed, depending on its owner, in 50s`,
		},
		"a mode off that its owner may have, in mode observe": {
			conf: `{"mode": "observe", "probeAfter": "never", "exempt": [{"commands": ["keep"]}]}`,
			want: "idle for 10s of its 1h grace (built-in); it may be destroyed, depending on its owner, in 59m50s",
		},
		"mode observe": {
			conf: `{"mode": "observe"}`,
			want: "idle for 10s of its 1h grace (built-in); its peer would be asked in 1m20s; it would be destroyed in 59m50s",
		},
		"a rule that names no grace": {
			conf: `{"rules": [{"match": {"state": "CLOSE_WAIT"}, "probeAfter": "30s"}]}`,
			want: "idle for 10s of its 1h grace (built-in); its peer is asked in 20s; it is destroyed in 59m50s",
		},
		"a rule that names the grace of both states": {
			conf: `{"probeAfter": "never", "rules": [{"match": {"state": "CLOSE_WAIT"}, "grace": "30s"}]}`,
			want: "idle for 10s of its 30s grace (rules[0], CLOSE_WAIT, network); it is destroyed in 20s",
		},
		"a rule that names the grace of the other state": {
			conf: `{"probeAfter": "never", "rules": [{"match": {"uids": "0"}, "finWait2Grace": "30s"}]}`,
			want: "idle for 10s of its 1h grace (built-in); it is destroyed in 59m50s",
		},
		"a rule that names no mode": {
			conf: `{"mode": "off", "rules": [{"match": {"uids": "0"}, "grace": "30s"}]}`,
			want: "the mode is off (network)",
		},
		"a rule that names mode off": {
			conf: `{"rules": [{"match": {"uids": "0"}, "mode": "off"}]}`,
			want: "the mode is off (rules[0], uid 0, network)",
		},
		"a rule that names no time to ask": {
			facts: policy.Facts{OwnersKnown: true}, conf: `{"probeAfter": "5s", "rules": [{"match": {"uids": "0"}, "grace": "30s"}]}`,
			want: "idle for 10s: its peer is asked (network)",
		},
		"a pending grace that is over": {
			conf: `{"mode": "observe", "probeAfter": "never", "grace": "5s", "pendingGrace": "6s"}`, change: unread,
			want: "its 6s pending grace ended 4s ago (network)",
		},
		"a rule that names no pending grace": {
			conf: `{"rules": [{"match": {"uids": "0"}, "grace": "5s"}]}`, change: unread,
			want: "its owner has 3 bytes still to read (built-in); its peer is asked in 1m20s; it is destroyed in 1h59m50s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := resolve(t, tt.conf, "any", nil).Policies
			s := closeWait(0)
			if tt.change != nil {
				tt.change(s)
			}
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s, Role: policy.RoleServer})
			v := policy.Judge(p, &h, s, tt.facts, at(10))
			if got := policy.Explain(&v, p, &h, s, at(10)); got != tt.want {
				t.Errorf("%v is explained as\n%q, want\n%q", v.Reason, got, tt.want)
			}
		})
	}
}
