// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

const ms = time.Millisecond

// at returns a span of a millisecond that begins at a time in milliseconds.
func at(millis int) model.Span {
	return model.Span{Before: time.Duration(millis) * ms, After: time.Duration(millis+1) * ms}
}

// policy returns a policy that destroys after 4 s in CLOSE_WAIT and 6 s in FIN_WAIT2, 8 s with pending bytes.
func policy(change ...func(p *model.Policy)) *model.Policy {
	p := &model.Policy{
		Mode: model.Destroy, ProbeAfter: model.Never, ProbeCount: 2, ProbeInterval: time.Second,
		CloseWaitGrace: 4 * time.Second, FinWait2Grace: 6 * time.Second, PendingGrace: 8 * time.Second,
	}
	for _, fn := range change {
		fn(p)
	}
	return p
}

func asking(p *model.Policy) { p.ProbeAfter = 2 * time.Second }

func neverEnding(p *model.Policy) {
	p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace = model.Never, model.Never, model.Never
}

// run returns a run with one namespace that has these policies of eth0.
func run(changes ...model.Change) *model.Run {
	return &model.Run{
		Bounds: model.Bounds{
			Reaction: time.Second, Propagation: time.Second, Answer: 1700 * ms, LookAge: ms, Thaw: 31 * time.Second, MinGrace: 100 * ms,
		},
		Namespaces: map[string]*model.Namespace{"ns": {Name: "ns", Attachments: map[string][]model.Change{"eth0": changes}}},
	}
}

// closeWait returns a server's socket that became half-closed at 1 s, with later events.
func closeWait(events ...model.Event) *model.Socket {
	return &model.Socket{
		ID: "c", Netns: "ns", Role: model.Server, LocalPort: 8000, PeerPort: 5000, Accepted: true, Commands: []string{"alpha"}, Until: model.Forever,
		Events: append([]model.Event{{Kind: model.HalfClosed, Span: at(1000), State: model.CloseWait}}, events...),
	}
}

func TestExpectationsFollowTheTables(t *testing.T) {
	always := func(p *model.Policy) *model.Run { return run(model.Change{Span: at(0), Policy: p}) }
	with := func(r *model.Run, effects ...model.Effect) *model.Run {
		r.Effects = effects
		return r
	}
	exempt := func(p *model.Policy) { p.Exempt = []model.Match{{LocalPort: 8000}} }
	never := model.Never
	servers := func(p *model.Policy) {
		p.Rules = []model.Rule{{Match: model.Match{Role: model.Server}, Layer: model.Layer{CloseWaitGrace: &never}}}
	}
	clients := func(p *model.Policy) {
		p.Rules = []model.Rule{{Match: model.Match{Role: model.Client}, Layer: model.Layer{CloseWaitGrace: &never}}}
	}
	serversFinWait2 := func(p *model.Policy) {
		p.Rules = []model.Rule{{Match: model.Match{Role: model.Server}, Layer: model.Layer{FinWait2Grace: &never}}}
	}
	unknown := model.Effect{Kind: model.RoleUnknown, To: model.Forever, Until: model.Forever}
	observed := model.Observe
	beta := func(p *model.Policy) {
		p.Rules = []model.Rule{{Match: model.Match{Command: "beta"}, Layer: model.Layer{Mode: &observed}}}
	}
	two := always(policy())
	two.Namespaces["ns"].Attachments["net1"] = []model.Change{{Span: at(0), Policy: policy(func(p *model.Policy) { p.CloseWaitGrace = 7 * time.Second })}}
	incomplete := always(policy(beta))
	incomplete.OwnersIncomplete = true
	partnered := func(p *model.Socket) *model.Socket {
		s := closeWait()
		s.Partner, p.Partner = p, s
		return s
	}
	finWait2 := func(unread int) *model.Socket {
		return &model.Socket{
			ID: "f", Netns: "ns", Role: model.Client, Accepted: true, Commands: []string{"alpha"}, Until: model.Forever,
			Events: []model.Event{{Kind: model.HalfClosed, Span: at(1000), State: model.FinWait2, Unread: unread}},
		}
	}
	const forever = -1
	for name, tc := range map[string]struct {
		run              *model.Run
		socket           *model.Socket
		earliest, latest int // ms; forever is never
	}{
		// A look comes within a second (a quarter of the grace), and the reaction within another.
		"a leak":              {always(policy()), closeWait(), 5000, 7001},
		"of another grace":    {always(policy()), finWait2(0), 7000, 9001},
		"with progress":       {always(policy()), closeWait(model.Event{Kind: model.Progress, Span: at(4000)}), 8000, 10_001},
		"with unread bytes":   {always(policy()), finWait2(10), 9000, 11_001},
		"that is exempt":      {always(policy(exempt)), closeWait(), forever, forever},
		"that is observed":    {always(policy(func(p *model.Policy) { p.Mode = model.Observe })), closeWait(), forever, forever},
		"without a grace":     {always(policy(neverEnding)), closeWait(), forever, forever},
		"of a role":           {always(policy(servers)), closeWait(), forever, forever},
		"of the other role":   {always(policy(clients)), closeWait(), 5000, 7001},
		"of an unknown role":  {with(always(policy(serversFinWait2)), unknown), finWait2(0), forever, forever},
		"of a proven role":    {with(always(policy(serversFinWait2)), unknown, model.Possibly(model.RoleKnown, ms, model.Forever, "")), finWait2(0), 7000, forever},
		"of a command":        {always(policy(beta)), closeWait(), 5000, 7001},
		"of unknown owners":   {incomplete, closeWait(), 5000, forever},
		"of two attachments":  {two, closeWait(), 8000, 10_501},
		"never registered":    {run(), closeWait(), forever, forever},
		"registered later":    {run(model.Change{Span: at(3000), Policy: policy()}), closeWait(), 7000, 10_001},
		"with a later policy": {run(model.Change{Span: at(0), Policy: policy()}, model.Change{Span: at(2000), Policy: policy(exempt)}), closeWait(), forever, forever},
		"whose mode is lifted": {
			run(model.Change{Span: at(0), Policy: policy(exempt)}, model.Change{Span: at(8000), Policy: policy()}), closeWait(), 8000, 10_001,
		},
		"closed in time":       {always(policy()), closeWait(model.Event{Kind: model.Closed, Span: at(4000)}), forever, forever},
		"while frozen":         {always(policy()), closeWait(model.Event{Kind: model.Frozen, Span: at(4000)}), forever, forever},
		"frozen for long":      {always(policy()), closeWait(model.Event{Kind: model.Frozen, Span: at(2000)}, model.Event{Kind: model.Thawed, Span: at(22_000)}), 24_999, 59_001},
		"frozen for a moment":  {always(policy()), closeWait(model.Event{Kind: model.Frozen, Span: at(2000)}, model.Event{Kind: model.Thawed, Span: at(12_000)}), 12_000, 49_001},
		"of a gone peer":       {always(policy(asking)), closeWait(model.Event{Kind: model.PeerGone, Span: at(1500)}), 3000, 7001},
		"asked, without grace": {always(policy(asking, neverEnding)), closeWait(model.Event{Kind: model.PeerGone, Span: at(1500)}), 3000, 9701},
		"of a living peer":     {always(policy(asking, neverEnding)), closeWait(), forever, forever},
		"while it is down":     {with(always(policy()), model.Possibly(model.Down, 3*time.Second, 20*time.Second, "")), closeWait(), 5000, 21_000},
		"of lost ages":         {with(always(policy()), model.Possibly(model.AgesMayRestart, 2*time.Second, 3*time.Second, "")), closeWait(), 5000, 9000},
		"of lost ages, by the state": {
			with(always(policy(func(p *model.Policy) { p.ByState = true })), model.Possibly(model.AgesMayRestart, 2*time.Second, 3*time.Second, "")), closeWait(), 4990, 9000,
		},
		"while observed by a switch": {
			with(always(policy()), model.Effect{Kind: model.Observed, Since: 0, From: ms, To: 20 * time.Second, Until: 21 * time.Second}), closeWait(), 20_000, 22_000,
		},
		"protected by unread bytes of the other end": {always(policy()), partnered(finWait2(10)), 9000, 11_001},
		"beside a longer grace of the other end":     {always(policy()), partnered(finWait2(0)), 5000, 7001},
	} {
		t.Run(name, func(t *testing.T) {
			x := tc.run.Expect(tc.socket)
			check := func(what string, got model.Time, want int) {
				t.Helper()
				if want == forever && got != model.Forever || want != forever && got != time.Duration(want)*ms {
					t.Errorf("%s %v, want %v ms", what, got, want)
				}
			}
			check("earliest", x.Earliest, tc.earliest)
			check("latest", x.Latest, tc.latest)
		})
	}
}
