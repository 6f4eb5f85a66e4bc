// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/verdict"
)

func span(seconds float64) model.Span {
	at := time.Duration(seconds * float64(time.Second))
	return model.Span{Before: at, After: at + time.Millisecond}
}

// run returns a run with a namespace whose sockets are destroyed after 4 s, except for the number that a rule for port 9 keeps.
func run() *model.Run {
	p := &model.Policy{
		Mode: model.Destroy, ProbeAfter: model.Never, CloseWaitGrace: 4 * time.Second, FinWait2Grace: 4 * time.Second, PendingGrace: 4 * time.Second,
		Rules: []model.Rule{{Match: model.Match{LocalPort: 9}, Above: 2}},
	}
	return &model.Run{
		Bounds:     model.Bounds{Reaction: time.Second, Propagation: time.Second, Answer: time.Second},
		Namespaces: map[string]*model.Namespace{"ns": {Name: "ns", Attachments: map[string][]model.Change{"eth0": {{Span: span(0), Policy: p}}}}},
	}
}

// socket returns a leak that began at a time and ended at another one: 0 is never.
func socket(id string, port uint16, began, ended float64, how model.How) *model.Socket {
	s := &model.Socket{
		ID: id, Netns: "ns", Role: model.Server, LocalPort: port, Accepted: true, Until: 60 * time.Second,
		Events: []model.Event{{Kind: model.HalfClosed, Span: span(began), State: model.CloseWait}},
	}
	if ended > 0 {
		at := span(ended)
		s.End = &model.Ending{How: how, From: at.Before, To: at.After}
	}
	return s
}

func TestEachFaultIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		ended float64
		how   model.How
		want  verdict.Fault
	}{
		"on time":         {5.5, model.Destroyed, ""},
		"too early":       {4, model.Destroyed, verdict.Wrong},
		"too late":        {20, model.Destroyed, verdict.Late},
		"never":           {0, 0, verdict.Missed},
		"by a reset":      {5.5, model.Reset, verdict.Wrong},
		"by a timeout":    {5.5, model.TimedOut, verdict.Wrong},
		"without a cause": {5.5, model.Other, verdict.Wrong},
	} {
		t.Run(name, func(t *testing.T) {
			r := verdict.Judge(run(), []*model.Socket{socket("s", 1, 1, tc.ended, tc.how)})
			var got verdict.Fault
			if len(r.Findings) > 0 {
				got = r.Findings[0].Fault
			}
			if got != tc.want || len(r.Findings) > 1 {
				t.Errorf("%q, want %q (%d findings)", got, tc.want, len(r.Findings))
			}
		})
	}
}

func TestRuleWithACountKeepsTheYoungest(t *testing.T) {
	for name, tc := range map[string]struct {
		ends []float64 // of sockets that began at 1 s, 4 s, 7 s and 10 s
		want []string
	}{
		"the oldest end":                     {[]float64{11.5, 14.5, 0, 0}, nil},
		"one too many":                       {[]float64{11.5, 14.5, 14.6, 0}, []string{"wrongly destroyed 2"}},
		"one too few":                        {[]float64{11.5, 0, 0, 0}, []string{"missed 1"}},
		"the youngest end":                   {[]float64{0, 0, 14.5, 14.6}, []string{"missed 0", "missed 1", "wrongly destroyed 2", "wrongly destroyed 3"}},
		"before enough are past their grace": {[]float64{5.5, 14.5, 0, 0}, []string{"wrongly destroyed 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []*model.Socket
			for i, end := range tc.ends {
				all = append(all, socket(fmt.Sprint(i), 9, float64(3*i+1), end, model.Destroyed))
			}
			var got []string
			for _, f := range verdict.Judge(run(), all).Findings {
				got = append(got, string(f.Fault)+" "+f.Socket.ID)
			}
			slices.SortFunc(got, func(a, b string) int { return strings.Compare(a[len(a)-1:], b[len(b)-1:]) })
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
