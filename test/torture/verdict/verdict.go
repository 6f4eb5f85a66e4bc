// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package verdict compares what the model expects of each socket of the torture test with what happened to it.
package verdict

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Fault is what is wrong with a socket.
type Fault string

// The faults.
const (
	Wrong  Fault = "wrongly destroyed"
	Missed Fault = "missed"
	Late   Fault = "late"
)

// Finding is a socket that did not end as the model expects.
type Finding struct {
	Fault  Fault
	Socket *model.Socket
	Expect model.Expectation
	By     time.Duration // how early or late it ended, for Wrong and Late
}

// Report is the verdict on all sockets.
type Report struct {
	Findings []Finding
	Sockets  int            // all of them
	HalfOpen int            // the ones that became half-closed
	Ended    map[string]int // by how they ended
	Required int            // the ones that had to end
	Kept     int            // the ones that could not end
	Wide     int            // the ones that could end within a window of more than Window, or may have ended or not
	WideBy   map[string]int // the same, by the reason
	Margin   time.Duration  // the least time between an end and its bound
	Ends     []End          // of the sockets that had to end and were destroyed
}

// End is when a socket could be destroyed at the earliest, and when it was.
type End struct{ Due, To model.Time }

// Window is the width above which a socket's window counts as wide.
const Window = 6 * time.Second

// Judge compares all sockets.
func Judge(run *model.Run, sockets []*model.Socket) *Report {
	report := &Report{Ended: make(map[string]int), WideBy: make(map[string]int), Margin: model.Forever}
	counted := make(map[group][]member)
	for _, s := range sockets {
		report.Sockets++
		if slices.ContainsFunc(s.Events, func(e model.Event) bool { return e.Kind == model.HalfClosed }) {
			report.HalfOpen++
		}
		x := run.Expect(s)
		if x.Above > 0 {
			g := group{s.Netns, s.LocalPort}
			counted[g] = append(counted[g], member{s, x})
			continue
		}
		report.judge(run, s, x)
	}
	for _, members := range counted {
		for _, m := range count(run, members) {
			report.judge(run, m.socket, m.expect)
		}
	}
	return report
}

func (r *Report) judge(run *model.Run, s *model.Socket, x model.Expectation) {
	find := func(f Fault, by time.Duration) {
		r.Findings = append(r.Findings, Finding{Fault: f, Socket: s, Expect: x, By: by})
	}
	switch required := x.Latest < s.Until; {
	case x.Earliest == model.Forever:
		r.Kept++
	case required && x.Latest-x.Earliest <= Window:
		r.Required++
	default:
		r.Wide++
		r.WideBy[wideBecause(s, x)]++
	}
	e := s.End
	if e == nil {
		r.Ended["alive"]++
		if x.Latest < s.Until {
			find(Missed, s.Until-x.Latest)
		}
		return
	}
	r.Ended[howNames[e.How]]++
	switch {
	case !legal(run, s, x):
		find(Wrong, x.Earliest-e.To)
	case e.From > x.Latest:
		find(Late, e.From-x.Latest)
	case x.Latest < model.Forever && !byPartner(s):
		if e.How == model.Destroyed && x.Latest-x.Earliest <= Window {
			r.Ends = append(r.Ends, End{Due: x.Earliest, To: e.To})
		}
		r.Margin = min(r.Margin, x.Latest-e.From)
	}
}

// wideBecause returns why a socket has a wide window.
func wideBecause(s *model.Socket, x model.Expectation) string {
	switch {
	case slices.ContainsFunc(s.Events, func(e model.Event) bool { return e.Kind == model.Frozen }):
		return "frozen"
	case x.Latest == model.Forever:
		return "closed in time"
	}
	return "disturbed"
}

var howNames = map[model.How]string{
	model.Destroyed: "destroyed", model.Reset: "reset", model.TimedOut: "timed out", model.Other: "other",
}

// legal reports whether a socket may have ended as it did.
func legal(run *model.Run, s *model.Socket, x model.Expectation) bool {
	e := s.End
	overlaps := func(all []model.Interval, from, to model.Time) bool {
		return slices.ContainsFunc(all, func(i model.Interval) bool { return i.From <= to && from <= i.To })
	}
	switch e.How {
	case model.Destroyed:
		return overlaps(x.Destroy, e.From, e.To)
	case model.Reset, model.TimedOut:
		if e.How == model.Reset && byPartner(s) {
			return true
		}
		// The question may have been asked a while before its answer.
		const longestQuestion = 12 * time.Second
		return run.MayHaveGone(s, e.To, e.How) && (s.Keepalive || overlaps(x.Question, e.From-longestQuestion, e.To))
	}
	return byPartner(s) // closed at both ends
}

// byPartner reports whether the other end in a registered namespace has ended before, which ends this one.
func byPartner(s *model.Socket) bool {
	p := s.Partner
	if p == nil {
		return false
	}
	if p.End != nil && p.End.From <= s.End.To {
		return true
	}
	return slices.ContainsFunc(p.Events, func(e model.Event) bool { return e.Kind == model.Closed && e.Span.Before <= s.End.To })
}
