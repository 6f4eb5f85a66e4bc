// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

// thresholds makes a policy with a rule for each number.
func thresholds(numbers ...int) policy.Policy {
	p := testPolicy()
	for _, n := range numbers {
		p.Rules = append(p.Rules, policy.Rule{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Above: new(n)}})
	}
	return p
}

func ruleRef(policyIndex, index int) policy.RuleRef {
	return policy.RuleRef{Policy: policyIndex, List: policy.ListRules, Index: index}
}

// surplus makes n sockets of the rules, the first idle longest, with the cookies 1 to n.
func surplus(n int, refs ...policy.RuleRef) []policy.Surplus {
	all := make([]policy.Surplus, n)
	for i := range all {
		all[i] = policy.Surplus{Cookie: uint64(i) + 1, Start: at(float64(i)), Above: refs}
	}
	return all
}

// goes returns the cookies of the sockets that are not spared.
func goes(policies []policy.Policy, due []policy.Surplus) []uint64 {
	var all []uint64
	for i, spared := range policy.SpareBelow(policies, due) {
		if !spared {
			all = append(all, due[i].Cookie)
		}
	}
	slices.Sort(all)
	return all
}

func TestSpareBelow(t *testing.T) {
	two := []policy.Policy{thresholds(3, 1), thresholds(4)}
	for name, tt := range map[string]struct {
		due  []policy.Surplus
		want []uint64
	}{
		"nothing due":                            {nil, nil},
		"fewer than the number":                  {surplus(2, ruleRef(0, 0)), nil},
		"as many as the number":                  {surplus(3, ruleRef(0, 0)), nil},
		"the longest idle of more":               {surplus(5, ruleRef(0, 0)), []uint64{1, 2}},
		"each rule has a set of its own":         {append(surplus(3, ruleRef(0, 0)), surplus(2, ruleRef(0, 1))...), []uint64{1}},
		"every attachment's rule must allow it":  {surplus(5, ruleRef(0, 0), ruleRef(1, 0)), []uint64{1}},
		"one without such a rule goes":           {append(surplus(2, ruleRef(0, 0)), policy.Surplus{Cookie: 9}), []uint64{9}},
		"one without such a rule does not count": {append(surplus(3, ruleRef(0, 0)), policy.Surplus{Cookie: 9}), []uint64{9}},
		"a rule that is gone allows nothing":     {surplus(9, ruleRef(0, 7)), nil},
		"of those idle for as long the lowest cookies": {
			[]policy.Surplus{
				{Cookie: 8, Above: []policy.RuleRef{ruleRef(0, 1)}},
				{Cookie: 5, Above: []policy.RuleRef{ruleRef(0, 1)}},
				{Cookie: 6, Above: []policy.RuleRef{ruleRef(0, 1)}},
			}, []uint64{5, 6},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, goes(two, tt.due)); diff != "" {
				t.Errorf("sockets that go (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOf140SocketsAboveAHundred40AreDestroyedAndThen10Of10More(t *testing.T) {
	policies := []policy.Policy{thresholds(100)}
	due := surplus(150, ruleRef(0, 0))
	first := due[:140]
	gone := goes(policies, first)
	if len(gone) != 40 || gone[39] != 40 {
		t.Fatalf("%d go: %v", len(gone), gone)
	}
	rest := append(slices.Clone(first[40:]), due[140:]...)
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	if gone = goes(policies, rest); len(gone) != 10 || gone[0] != 41 || gone[9] != 50 {
		t.Errorf("%d more go: %v", len(gone), gone)
	}
}

func TestVerdictHasTheAboveRulesThatCertainlyMatch(t *testing.T) {
	number := func(m policy.Match, n int) policy.Rule {
		return policy.Rule{Match: m, Values: policy.Values{Above: new(n)}}
	}
	p := testPolicy()
	p.Rules = []policy.Rule{
		number(policy.Match{Role: policy.RoleClient}, 1),
		number(policy.Match{Commands: []string{"a"}}, 2),
		number(policy.Match{LocalPorts: ports("8080")}, 3),
		number(policy.Match{LocalPorts: ports("8080")}, 4),
	}
	without := testPolicy()
	without.Rules = []policy.Rule{{Match: policy.Match{LocalPorts: ports("8080")}, Values: policy.Values{Grace: new(second)}}, number(policy.Match{LocalPorts: ports("8080")}, 5)}
	for name, tt := range map[string]struct {
		facts policy.Facts
		want  []policy.RuleRef
	}{
		"one that may match is passed over":   {policy.Facts{}, []policy.RuleRef{ruleRef(0, 2)}},
		"one that matches ends the search":    {policy.Facts{Role: policy.RoleClient}, []policy.RuleRef{ruleRef(0, 0)}},
		"one that does not match is skipped":  {policy.Facts{Role: policy.RoleServer}, []policy.RuleRef{ruleRef(0, 2)}},
		"every owner has its own":             {owners("a", "b", "a"), []policy.RuleRef{ruleRef(0, 1), ruleRef(0, 2)}},
		"owners that match the same have one": {owners("b", "c"), []policy.RuleRef{ruleRef(0, 2)}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.facts.Role == policy.RoleUnknown && tt.facts.OwnersKnown {
				tt.facts.Role = policy.RoleServer
			}
			s := closeWait(0)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			v := policy.Judge([]policy.Policy{p, without}, &h, s, tt.facts, at(0).Add(99*time.Second))
			if diff := cmp.Diff(tt.want, v.Above); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBelowThresholdDelaysTheDestroyAndNotTheQuestion(t *testing.T) {
	for name, tt := range map[string]struct {
		mode       policy.Mode
		now        float64
		questions  int
		facts      policy.Facts
		want       policy.Reason
		ask, needs bool
	}{
		"a destroy":                     {policy.Destroy, 21, 4, owners("a"), policy.BelowThreshold, false, false},
		"one that would be":             {policy.Observe, 21, 4, owners("a"), policy.BelowThreshold, false, false},
		"a question that is due":        {policy.Destroy, 21, 0, owners("a"), policy.AskingPeer, true, false},
		"a question without its owners": {policy.Destroy, 21, 0, policy.Facts{}, policy.AskingPeer, false, true},
		"a question that would be":      {policy.Observe, 21, 0, owners("a"), policy.WouldAsk, false, false},
		"nothing that is due":           {policy.Destroy, 1, 0, owners("a"), policy.WithinGrace, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			p.Mode, p.ProbeAfter = tt.mode, 5*second
			s := closeWait(0)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			for range tt.questions {
				h.AddQuestion(at(0))
			}
			v := policy.Judge([]policy.Policy{p}, &h, s, tt.facts, at(tt.now)).BelowThreshold(at(tt.now))
			if v.Reason != tt.want || v.Ask != tt.ask || v.NeedsOwners != tt.needs || v.Destroy() {
				t.Errorf("%v, ask %v, needs owners %v, destroy %v", v.Reason, v.Ask, v.NeedsOwners, v.Destroy())
			}
		})
	}
}

func owners(commands ...string) policy.Facts {
	f := policy.Facts{OwnersKnown: true, OwnersComplete: true}
	for _, c := range commands {
		f.Owners = append(f.Owners, policy.Owner{Command: c})
	}
	return f
}
