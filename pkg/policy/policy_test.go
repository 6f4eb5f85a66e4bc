// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

const second = policy.Patience(time.Second)

func TestDefault(t *testing.T) {
	want := policy.Policy{
		Mode: policy.Destroy, CloseWaitGrace: 60 * minute, FinWait2Grace: 60 * minute, ProbeAfter: 90 * second,
		PendingGrace: 120 * minute, ProbeCount: 6, ProbeInterval: 10 * time.Second, Clock: policy.ClockProgress, Sources: sources(nil),
	}
	if diff := cmp.Diff(want, policy.Default()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLayerOfAPolicyHasEveryValue(t *testing.T) {
	want := policy.Compose(complete())
	got := policy.Compose(want.Layer(policy.SourceNetwork))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShortest(t *testing.T) {
	rule := func(m policy.Match, v policy.Values) []policy.Rule { return []policy.Rule{{Match: m, Values: v}} }
	client := policy.Match{Role: policy.RoleClient}
	for name, tt := range map[string]struct {
		change func(*policy.Policy)
		want   policy.Patience
	}{
		"the time until the peer is asked, by default": {func(*policy.Policy) {}, 90 * second},
		"the grace of CLOSE_WAIT":                      {func(p *policy.Policy) { p.CloseWaitGrace = minute }, minute},
		"the grace of FIN_WAIT2":                       {func(p *policy.Policy) { p.FinWait2Grace = minute }, minute},
		"none where the mode is off":                   {func(p *policy.Policy) { p.Mode = policy.Off }, policy.Never},
		"one where it is observe":                      {func(p *policy.Policy) { p.Mode = policy.Observe }, 90 * second},
		"none of a policy that was never set":          {func(p *policy.Policy) { *p = policy.Policy{} }, policy.Never},
		"none where everything is never": {func(p *policy.Policy) {
			p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Never, policy.Never, policy.Never
		}, policy.Never},
		"that of a rule": {func(p *policy.Policy) { p.Rules = rule(client, policy.Values{Grace: new(second)}) }, second},
		"that of a rule, though the mode is off": {func(p *policy.Policy) {
			p.Mode, p.Rules = policy.Off, rule(client, policy.Values{Mode: new(policy.Destroy), ProbeAfter: new(second)})
		}, second},
		"not that of a rule whose mode is off": {func(p *policy.Policy) {
			p.Rules = rule(client, policy.Values{Mode: new(policy.Off), Grace: new(second)})
		}, 90 * second},
		"not that of a state that the rule does not match": {func(p *policy.Policy) {
			p.Rules = rule(policy.Match{State: inetdiag.CloseWait}, policy.Values{FinWait2Grace: new(second)})
		}, 90 * second},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.Default()
			tt.change(&p)
			if got := p.Shortest(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNoProblemIsNoError(t *testing.T) {
	if err := (policy.Problems{}).Err(); err != nil {
		t.Errorf("got %v", err)
	}
	err := policy.Problems{{Path: "$.mode", Message: "one"}, {Path: "$", Message: "two"}}.Err()
	if want := "$.mode: one; $: two"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
