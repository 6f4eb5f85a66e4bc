// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// endOf is an end of a connection that has sent and received these numbers of bytes. The one in FIN_WAIT2 is the client.
func endOf(netns uint64, st inetdiag.State, local, peer string, sent, received uint64) policy.End {
	l, p := netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer)
	family := uint8(unix.AF_INET)
	if l.Addr().Is6() {
		family = unix.AF_INET6
	}
	s := &inetdiag.Socket{ID: inetdiag.NewID(family, l, p, 0, 7), State: st, Inode: 1, HasInfo: true}
	s.Info.BytesAcked, s.Info.BytesReceived = sent, received
	if st == inetdiag.CloseWait {
		s.Info.BytesReceived++ // the peer's FIN
	} else {
		s.Info.BytesAcked += 2 // our SYN and FIN
	}
	h := policy.Follow(nil, policy.Look{At: monotime.Time(time.Hour), Socket: s})
	return policy.End{Netns: netns, ID: h.ID, State: h.State, Counters: h.Counters}
}

// TestKernelCountsOfTwoEndsMirror has the counts of Linux 6.18 for a client that sent 100 bytes and a server that sent
// 50.
func TestKernelCountsOfTwoEndsMirror(t *testing.T) {
	end := func(st inetdiag.State, local, peer string, acked, received uint64) *policy.End {
		s := &inetdiag.Socket{
			ID:    inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer), 0, 7),
			State: st, Inode: 1, HasInfo: true,
		}
		s.Info.BytesAcked, s.Info.BytesReceived = acked, received
		h := policy.Follow(nil, policy.Look{At: monotime.Time(time.Hour), Socket: s})
		return &policy.End{Netns: 1, ID: h.ID, State: h.State, Counters: h.Counters}
	}
	const client, server = "10.0.0.1:4000", "10.0.0.2:80"
	if !policy.AreTwoEnds(end(inetdiag.FinWait2, client, server, 102, 50), end(inetdiag.CloseWait, server, client, 50, 101)) {
		t.Error("the client half-closed")
	}
	if !policy.AreTwoEnds(end(inetdiag.CloseWait, client, server, 101, 51), end(inetdiag.FinWait2, server, client, 51, 100)) {
		t.Error("the server half-closed")
	}
}

func TestAreTwoEnds(t *testing.T) {
	const cw, fw = inetdiag.CloseWait, inetdiag.FinWait2
	client := endOf(1, fw, "10.0.0.1:4000", "10.0.0.2:80", 100, 50)
	for name, tt := range map[string]struct {
		a, b policy.End
		want bool
	}{
		"the two ends in two netns":                      {client, endOf(2, cw, "10.0.0.2:80", "10.0.0.1:4000", 50, 100), true},
		"the two ends in one netns":                      {client, endOf(1, cw, "10.0.0.2:80", "10.0.0.1:4000", 50, 100), true},
		"a byte on its way":                              {client, endOf(2, cw, "10.0.0.2:80", "10.0.0.1:4000", 51, 101), true},
		"more than a byte sent":                          {client, endOf(2, cw, "10.0.0.2:80", "10.0.0.1:4000", 52, 100), false},
		"more than a byte received":                      {client, endOf(2, cw, "10.0.0.2:80", "10.0.0.1:4000", 50, 98), false},
		"another port":                                   {client, endOf(2, cw, "10.0.0.2:81", "10.0.0.1:4000", 50, 100), false},
		"another port of the peer":                       {client, endOf(2, cw, "10.0.0.2:80", "10.0.0.1:4001", 50, 100), false},
		"another address":                                {client, endOf(2, cw, "10.0.0.3:80", "10.0.0.1:4000", 50, 100), false},
		"the same way round":                             {client, endOf(2, cw, "10.0.0.1:4000", "10.0.0.2:80", 50, 100), false},
		"both ends in one state":                         {client, endOf(2, fw, "10.0.0.2:80", "10.0.0.1:4000", 50, 100), false},
		"itself":                                         {client, client, false},
		"an IPv4 client of a v4-mapped listener":         {client, endOf(2, cw, "[::ffff:10.0.0.2]:80", "[::ffff:10.0.0.1]:4000", 50, 100), true},
		"IPv6":                                           {endOf(1, fw, "[2001:db8::1]:4000", "[2001:db8::2]:80", 1, 2), endOf(2, cw, "[2001:db8::2]:80", "[2001:db8::1]:4000", 2, 1), true},
		"loopback in one netns":                          {endOf(1, fw, "127.0.0.1:4000", "127.0.0.1:80", 1, 2), endOf(1, cw, "127.0.0.1:80", "127.0.0.1:4000", 2, 1), true},
		"loopback in two netns":                          {endOf(1, fw, "127.0.0.1:4000", "127.0.0.1:80", 1, 2), endOf(2, cw, "127.0.0.1:80", "127.0.0.1:4000", 2, 1), false},
		"loopback of IPv6 in two netns":                  {endOf(1, fw, "[::1]:4000", "[::1]:80", 1, 2), endOf(2, cw, "[::1]:80", "[::1]:4000", 2, 1), false},
		"v4-mapped loopback in two netns":                {endOf(1, fw, "[::ffff:127.0.0.1]:4000", "[::ffff:127.0.0.1]:80", 1, 2), endOf(2, cw, "127.0.0.1:80", "127.0.0.1:4000", 2, 1), false},
		"link-local addresses in two netns":              {endOf(1, fw, "[fe80::1]:4000", "[fe80::2]:80", 1, 2), endOf(2, cw, "[fe80::2]:80", "[fe80::1]:4000", 2, 1), false},
		"link-local addresses of IPv4 in two netns":      {endOf(1, fw, "169.254.0.1:4000", "169.254.0.2:80", 1, 2), endOf(2, cw, "169.254.0.2:80", "169.254.0.1:4000", 2, 1), false},
		"a link-local address with another in two netns": {endOf(1, fw, "[fe80::1]:4000", "[2001:db8::2]:80", 1, 2), endOf(2, cw, "[2001:db8::2]:80", "[fe80::1]:4000", 2, 1), false},
		"a link-local address with another in one netns": {endOf(1, fw, "[fe80::1]:4000", "[2001:db8::2]:80", 1, 2), endOf(1, cw, "[2001:db8::2]:80", "[fe80::1]:4000", 2, 1), true},
		"link-local addresses in one netns":              {endOf(1, fw, "[fe80::1]:4000", "[fe80::2]:80", 1, 2), endOf(1, cw, "[fe80::2]:80", "[fe80::1]:4000", 2, 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got, back := policy.AreTwoEnds(&tt.a, &tt.b), policy.AreTwoEnds(&tt.b, &tt.a); got != tt.want || back != tt.want {
				t.Errorf("got %v, the other way round %v", got, back)
			}
			if tt.want && (tt.a.OtherKey() != tt.b.Key() || tt.b.OtherKey() != tt.a.Key()) {
				t.Error("they are not found by their keys")
			}
		})
	}
}

func TestStandingReasonsSpareTheOtherEnd(t *testing.T) {
	unread := func(s *inetdiag.Socket) { s.RQueue = 5 }
	queued := func(s *inetdiag.Socket) { s.Inode = 0 }
	orphan := func(s *inetdiag.Socket) { finWait2(s); s.Inode = 0 }
	plain := func(*inetdiag.Socket) {}
	for name, tt := range map[string]struct {
		policy func(*policy.Policy)
		socket func(*inetdiag.Socket)
		facts  policy.Facts
		now    float64
		want   policy.Standing
	}{
		"a longer grace does not":           {func(p *policy.Policy) { p.CloseWaitGrace = 9999 * second }, plain, owners("a"), 25, policy.StandingNone},
		"an end whose time has come":        {nil, plain, owners("a"), 25, policy.StandingNone},
		"a grace of never":                  {func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }, plain, owners("a"), 25, policy.StandingGraceNever},
		"an exemption":                      {func(p *policy.Policy) { p.Exempt = []policy.Match{{LocalPorts: ports("8080")}} }, plain, owners("a"), 25, policy.StandingExempt},
		"mode observe":                      {func(p *policy.Policy) { p.Mode = policy.Observe }, plain, owners("a"), 25, policy.StandingMode},
		"mode off":                          {func(p *policy.Policy) { p.Mode = policy.Off }, plain, owners("a"), 25, policy.StandingMode},
		"unread bytes":                      {nil, unread, owners("a"), 25, policy.StandingUnread},
		"unread bytes before its grace":     {nil, unread, owners("a"), 5, policy.StandingUnread},
		"unread bytes past their patience":  {nil, unread, owners("a"), 100, policy.StandingNone},
		"one that has not been accepted":    {nil, queued, policy.Facts{}, 25, policy.StandingNotAccepted},
		"an orphan does not":                {nil, orphan, policy.Facts{}, 25, policy.StandingNone},
		"a frozen owner":                    {nil, plain, policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Frozen: true}}}, 25, policy.StandingFrozen},
		"a rule that may keep by its owner": {func(p *policy.Policy) { p.Exempt = []policy.Match{{Commands: []string{"a"}}} }, plain, policy.Facts{}, 25, policy.StandingExempt},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			if tt.policy != nil {
				tt.policy(&p)
			}
			s := closeWait(0, tt.socket)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			other := policy.Judge([]policy.Policy{p}, &h, s, tt.facts, at(tt.now))
			if other.Standing != tt.want {
				t.Errorf("got %v, want %v", other.Standing, tt.want)
			}
			// An unrelated socket, past its grace.
			s = closeWait(0)
			h = policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			policies := []policy.Policy{testPolicy()}
			v := policy.Judge(policies, &h, s, owners("a"), at(25)).SparedBy(other.Standing, &h, at(25))
			if spared := v.Reason == policy.PeerSpared; spared == v.Destroy() || spared != (tt.want != policy.StandingNone) || spared != v.Deadline.IsZero() {
				t.Errorf("the other end: %v, destroy %v, deadline %v", v.Reason, v.Destroy(), v.Deadline)
			}
			if text := policy.Explain(&v, policies, &h, s, at(25)); v.Reason == policy.PeerSpared && text != "the other end of its connection "+tt.want.String() {
				t.Errorf("explained as %q", text)
			}
		})
	}
}

func TestStandingReasonsSpareFromTheQuestionToo(t *testing.T) {
	p := testPolicy()
	p.ProbeAfter = 5 * second
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	v := policy.Judge([]policy.Policy{p}, &h, s, owners("a"), at(6))
	if !v.Ask || v.SparedBy(policy.StandingNone, &h, at(6)).Ask != v.Ask {
		t.Errorf("asked: %v", v.Ask)
	}
	if v = v.SparedBy(policy.StandingUnread, &h, at(6)); v.Ask || v.Reason != policy.PeerSpared {
		t.Errorf("asked: %v, %v", v.Ask, v.Reason)
	}
	p.Mode = policy.Off
	if v = policy.Judge([]policy.Policy{p}, &h, s, owners("a"), at(6)).SparedBy(policy.StandingUnread, &h, at(6)); v.Reason != policy.ModeOff {
		t.Errorf("its own reason is replaced by %v", v.Reason)
	}
}
