// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math/rand" // the one that testing/quick hands on
	"net/netip"
	"reflect"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestMerge(t *testing.T) {
	base := func(change func(*policy.Policy)) policy.Policy {
		p := policy.Policy{
			Mode: policy.Destroy, CloseWaitGrace: minute, FinWait2Grace: minute,
			Clock: policy.ClockState, PendingData: policy.PendingDestroy,
		}
		change(&p)
		return p
	}
	same := func(*policy.Policy) {}
	for name, tt := range map[string]struct {
		other, want func(*policy.Policy)
	}{
		"two that are the same are that one": {same, same},
		"observe goes before destroy": {
			func(p *policy.Policy) { p.Mode = policy.Observe }, func(p *policy.Policy) { p.Mode = policy.Observe },
		},
		"off goes before destroy": {
			func(p *policy.Policy) { p.Mode = policy.Off }, func(p *policy.Policy) { p.Mode = policy.Off },
		},
		"a mode that was never set is off": {
			func(p *policy.Policy) { p.Mode = 0 }, func(p *policy.Policy) { p.Mode = policy.Off },
		},
		"the longest grace of each state": {
			func(p *policy.Policy) { p.CloseWaitGrace, p.FinWait2Grace = 2*minute, minute/2 },
			func(p *policy.Policy) { p.CloseWaitGrace = 2 * minute },
		},
		"never is the longest": {
			func(p *policy.Policy) { p.FinWait2Grace = policy.Never }, func(p *policy.Policy) { p.FinWait2Grace = policy.Never },
		},
		"a grace that was never set is never": {
			func(p *policy.Policy) { p.CloseWaitGrace = 0 }, func(p *policy.Policy) { p.CloseWaitGrace = policy.Never },
		},
		"progress goes before state": {
			func(p *policy.Policy) { p.Clock = policy.ClockProgress }, func(p *policy.Policy) { p.Clock = policy.ClockProgress },
		},
		"keep goes before destroy": {
			func(p *policy.Policy) { p.PendingData = policy.PendingKeep }, func(p *policy.Policy) { p.PendingData = policy.PendingKeep },
		},
		"a clock and pending data that do not exist are the careful ones": {
			func(p *policy.Policy) { p.Clock, p.PendingData = 7, 7 },
			func(p *policy.Policy) { p.Clock, p.PendingData = policy.ClockProgress, policy.PendingKeep },
		},
		"exemptions of one": {
			func(p *policy.Policy) { p.Exempt = []policy.Exemption{{Loopback: true}} },
			func(p *policy.Policy) { p.Exempt = []policy.Exemption{{Loopback: true}} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := policy.Merge(base(same), base(tt.other))
			if diff := cmp.Diff(base(tt.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeOfNothingDestroysNothing(t *testing.T) {
	got := policy.Merge()
	want := policy.Policy{Mode: policy.Off, CloseWaitGrace: policy.Never, FinWait2Grace: policy.Never}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if problems := got.Validate(); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestMergeUnitesExemptions(t *testing.T) {
	a, b, c := policy.Default(), policy.Default(), policy.Default()
	a.Exempt = []policy.Exemption{{Loopback: true}, {Peers: prefixes("10.0.0.0/8", "::1/128")}}
	b.Exempt = []policy.Exemption{{Peers: prefixes("::1/128", "10.0.0.0/8", "10.0.0.0/8")}, {LocalPorts: policy.Ports{{22, 22}}}}
	c.Exempt = []policy.Exemption{{LocalPorts: policy.Ports{{22, 22}}, Loopback: true}}
	want := []policy.Exemption{
		{Loopback: true},
		{Peers: prefixes("10.0.0.0/8", "::1/128")},
		{LocalPorts: policy.Ports{{22, 22}}},
		{LocalPorts: policy.Ports{{22, 22}}, Loopback: true},
	}
	if diff := cmp.Diff(want, policy.Merge(a, b, c).Exempt); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMergeDoesNotWriteToItsArguments(t *testing.T) {
	fresh := func() policy.Policy {
		p := policy.Default()
		p.Exempt = []policy.Exemption{
			{LocalPorts: policy.Ports{{80, 90}, {22, 22}, {85, 95}}}, {Peers: prefixes("::1/128", "10.0.0.0/8")}, {Loopback: true},
		}
		return p
	}
	a, b := fresh(), fresh()
	policy.Merge(a, b)
	if !reflect.DeepEqual(a, fresh()) || !reflect.DeepEqual(b, fresh()) {
		t.Errorf("now %v and %v", a, b)
	}
}

// anyPolicy is a policy for testing/quick: of few different values, so that they meet, invalid ones included.
type anyPolicy policy.Policy

func (anyPolicy) Generate(r *rand.Rand, _ int) reflect.Value {
	graces := []policy.Grace{policy.Never, 0, -1, 1, minute, 2 * minute}
	p := anyPolicy{
		Mode: policy.Mode(r.Intn(5)), CloseWaitGrace: graces[r.Intn(len(graces))], FinWait2Grace: graces[r.Intn(len(graces))],
		Clock: policy.Clock(r.Intn(3)), PendingData: policy.PendingData(r.Intn(3)),
	}
	ports := func() policy.Ports {
		var all policy.Ports
		for range r.Intn(4) {
			first := 1 + r.Intn(8)
			all = append(all, policy.PortRange{First: uint16(first), Last: uint16(first + r.Intn(3))})
		}
		return all
	}
	peers := prefixes("10.0.0.0/8", "10.1.0.0/16", "::1/128", "2001:db8::/32")
	for range r.Intn(4) {
		e := policy.Exemption{LocalPorts: ports(), PeerPorts: ports(), Loopback: r.Intn(2) == 0}
		for range r.Intn(3) {
			e.Peers = append(e.Peers, peers[r.Intn(len(peers))])
		}
		p.Exempt = append(p.Exempt, e)
	}
	return reflect.ValueOf(p)
}

func TestMergeProperties(t *testing.T) {
	equal := func(a, b policy.Policy) bool { return reflect.DeepEqual(a, b) }
	m := policy.Merge
	for name, property := range map[string]any{
		"the order makes no difference": func(a, b, c anyPolicy) bool {
			x, y, z := policy.Policy(a), policy.Policy(b), policy.Policy(c)
			return equal(m(x, y, z), m(z, y, x)) && equal(m(x, y), m(y, x))
		},
		"merging some first makes no difference": func(a, b, c anyPolicy) bool {
			x, y, z := policy.Policy(a), policy.Policy(b), policy.Policy(c)
			return equal(m(x, m(y, z)), m(x, y, z)) && equal(m(m(x, y), z), m(x, y, z))
		},
		"merging one again makes no difference": func(a, b anyPolicy) bool {
			x, y := policy.Policy(a), policy.Policy(b)
			return equal(m(x, x), m(x)) && equal(m(m(x, y), x), m(x, y)) && equal(m(m(x)), m(x))
		},
		"nothing is less careful than before": func(a, b anyPolicy, port, peerPort uint8) bool {
			x, y := policy.Policy(a), policy.Policy(b)
			merged := m(x, y)
			return asCareful(merged, x, port, peerPort) && asCareful(merged, y, port, peerPort)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
				t.Error(err)
			}
		})
	}
}

// asCareful reports whether p is no less careful than q, as far as one pair of ports shows.
func asCareful(p, q policy.Policy, port, peerPort uint8) bool {
	if policy.MostCareful(p.Mode, q.Mode) != policy.MostCareful(p.Mode) || p.Clock > q.Clock || p.PendingData > q.PendingData {
		return false
	}
	for state := range halfClosed {
		if p.Grace(state) < q.Grace(state) {
			return false
		}
	}
	for _, peer := range []string{"10.1.0.7", "10.9.9.9", "::1", "2001:db8::1", "192.0.2.1", "127.0.0.1"} {
		addr := netip.MustParseAddr(peer)
		local, remote := netip.AddrPortFrom(addr, uint16(port)%16), netip.AddrPortFrom(addr, uint16(peerPort)%16)
		_, was := q.Exempts(local, remote)
		if _, is := p.Exempts(local, remote); was && !is {
			return false
		}
	}
	return true
}
