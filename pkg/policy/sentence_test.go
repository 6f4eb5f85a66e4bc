// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestSentencesJoinByComponent(t *testing.T) {
	change := func(changes ...func(*policy.Policy)) policy.Policy {
		p := testPolicy()
		for _, c := range changes {
			c(&p)
		}
		return p
	}
	ask := func(seconds policy.Patience) func(*policy.Policy) {
		return func(p *policy.Policy) { p.ProbeAfter = seconds * second }
	}
	grace := func(seconds policy.Patience) func(*policy.Policy) {
		return func(p *policy.Policy) { p.CloseWaitGrace = seconds * second }
	}
	mode := func(m policy.Mode) func(*policy.Policy) { return func(p *policy.Policy) { p.Mode = m } }
	never := func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }
	exempt := func(p *policy.Policy) { p.Exempt = []policy.Match{{LocalPorts: ports("8080")}} }
	for name, tt := range map[string]struct {
		a, b   policy.Policy
		now    float64
		want   policy.Reason
		ask    float64 // 0: never
		end    float64
		decide int // the policy that is named
	}{
		"the least act counts": {
			change(mode(policy.Observe)), change(), 25, policy.WouldDestroy, 0, 20, 0,
		},
		"off before all": {
			change(), change(mode(policy.Off)), 25, policy.ModeOff, 0, 0, 1,
		},
		"the latest end counts": {
			change(), change(grace(30)), 25, policy.WithinGrace, 0, 30, 1,
		},
		"a grace of never counts": {
			change(), change(never), 25, policy.GraceNever, 0, 0, 1,
		},
		"the latest question counts": {
			change(ask(9)), change(ask(5)), 8, policy.WithinGrace, 9, 20, 0,
		},
		"the question of one and the end of the other": {
			change(ask(9), grace(20)), change(ask(5), grace(30)), 21, policy.AskingPeer, 9, 30, 0,
		},
		"no question where one never asks": {
			change(ask(9)), change(), 10, policy.WithinGrace, 0, 20, 0,
		},
		"an exemption of either counts": {
			change(), change(exempt), 25, policy.Exempted, 0, 0, 1,
		},
		"of two that say the same the first is named": {
			change(mode(policy.Off)), change(exempt), 25, policy.ModeOff, 0, 0, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := closeWait(0)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			v := policy.Judge([]policy.Policy{tt.a, tt.b}, &h, s, policy.Facts{OwnersKnown: true, OwnersComplete: true}, at(tt.now))
			if v.Reason != tt.want {
				t.Errorf("got %v, want %v", v.Reason, tt.want)
			}
			askAt, endAt := policy.Forever, policy.Forever
			if tt.ask != 0 {
				askAt = at(tt.ask)
			}
			if tt.end != 0 {
				endAt = at(tt.end)
			}
			if v.AskAt != askAt || v.EndAt != endAt {
				t.Errorf("asked at %v, ended at %v", v.AskAt.Sub(at(0)), v.EndAt.Sub(at(0)))
			}
			why := v.EndWhy
			switch tt.want {
			case policy.WouldDestroy, policy.ModeOff, policy.Exempted:
				why = v.ActWhy
			case policy.AskingPeer:
				why = v.AskWhy
			}
			if why.Ref.Policy != tt.decide {
				t.Errorf("policy %d is named, want %d", why.Ref.Policy, tt.decide)
			}
		})
	}
}

func TestRelaxNeverShortensARule(t *testing.T) {
	r := resolve(t, `{"grace": "20s", "rules": [{"match": {"localPorts": "8080"}, "mode": "off"}]}`, "relax", pod("rules", "[]", "grace", "1s"))
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	if v := policy.Judge(r.Policies, &h, s, policy.Facts{OwnersKnown: true, OwnersComplete: true}, at(99)); v.Reason != policy.ModeOff {
		t.Errorf("an annotation dropped the network's rule: %v", v.Reason)
	}
}

func TestIdleStart(t *testing.T) {
	h := policy.History{Since: at(0), Start: at(5)}
	check := func(progress, state float64) {
		t.Helper()
		if h.IdleStart(policy.ClockProgress) != at(progress) || h.IdleStart(policy.ClockState) != at(state) {
			t.Errorf("by progress from %v, by state from %v",
				h.IdleStart(policy.ClockProgress).Sub(at(0)), h.IdleStart(policy.ClockState).Sub(at(0)))
		}
	}
	check(5, 0)
	h.AddFrozen(2 * time.Second)
	h.AddFrozen(-time.Second)
	check(7, 2)
	h.Progress, h.FrozenIdle = at(10), 0
	check(10, 2)
	h.AddFrozen(3 * time.Second)
	check(13, 5)
	h = policy.History{Since: at(5), Start: at(0)} // one that cannot be
	check(5, 5)
	h.Frozen = 2 * time.Second
	check(7, 7)
}

func TestFollowKeepsTheHistoryOfAConnection(t *testing.T) {
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: closeWait(0), Role: policy.RoleServer})
	h.AddQuestion(at(1))
	h.AddFrozen(time.Second)
	h.PeerAlive = at(1)
	next := policy.Follow(&h, policy.Look{At: at(5), Socket: closeWait(5 * time.Second)})
	if next.Role != policy.RoleServer || next.Asks != 1 || next.PeerAlive != at(1) || next.Frozen != time.Second || next.FrozenIdle != time.Second {
		t.Errorf("a look that shows nothing new lost something: %+v", next)
	}
	next = policy.Follow(&h, policy.Look{At: at(5), Socket: closeWait(5 * time.Second), Role: policy.RoleClient})
	if next.Role != policy.RoleServer {
		t.Errorf("the role became %v", next.Role)
	}
	moved := closeWait(0)
	moved.Info.BytesAcked++
	moved.Info.SegsIn++
	next = policy.Follow(&h, policy.Look{At: at(5), Socket: moved})
	if next.Role != policy.RoleServer || next.Asks != 0 || next.PeerAlive != 0 || next.Frozen != time.Second || next.FrozenIdle != 0 || next.Progress != at(5) {
		t.Errorf("progress did not start a new idle time: %+v", next)
	}
	other := closeWait(0)
	other.Info.BytesAcked = 1
	next = policy.Follow(&h, policy.Look{At: at(5), Socket: other})
	if next.Role != policy.RoleUnknown || next.Asks != 0 || next.PeerAlive != 0 || next.Frozen != 0 || next.Start != at(5) {
		t.Errorf("another connection took something over: %+v", next)
	}
}

func TestFollowProvesWhenASocketBecameHalfClosed(t *testing.T) {
	first := policy.Follow(nil, policy.Look{At: at(5), Socket: closeWait(0)})
	if next := policy.Follow(&first, policy.Look{At: at(6), Entered: at(3), Socket: closeWait(time.Second)}); next.Since != at(3) || next.Start != at(5) {
		t.Errorf("half-closed since %v, idle since %v, want 3s and 5s", next.Since.Sub(at(0)), next.Start.Sub(at(0)))
	}
}

func TestFollowRecognizesAnotherConnectionByAnUncountedSegment(t *testing.T) {
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: closeWait(0)})
	for name, tt := range map[string]struct {
		lastAck float64 // after the first look
		another bool
	}{
		"one that was being processed at the earlier look": {0.04, false},
		"one that came after it":                           {0.06, true},
		"one that came long after it":                      {4, true},
	} {
		t.Run(name, func(t *testing.T) {
			ago := at(10).Sub(at(tt.lastAck))
			next := policy.Follow(&h, policy.Look{At: at(10), Socket: closeWait(ago)})
			if (next.Start == at(10)) != tt.another {
				t.Errorf("idle since %v", next.Start.Sub(at(0)))
			}
		})
	}
}

func TestIdleTimeStartsAtAccept(t *testing.T) {
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: closeWait(0, func(s *inetdiag.Socket) { s.Inode = 0 })})
	h.AddFrozen(3 * time.Second)
	h.AddQuestion(at(1))
	next := policy.Follow(&h, policy.Look{At: at(5), Socket: closeWait(5 * time.Second)})
	if next.Start != at(5) || next.Since != at(5) || next.Frozen != 0 || next.FrozenIdle != 0 || next.AllAsks != 0 || next.Asks != 0 {
		t.Errorf("it took something over from the queue: %+v", next)
	}
}
