// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "time"

// begins are the starts of a socket's idle time by the two clocks, the frozen time included.
type begins struct {
	progress, state Time
}

// facts are the properties of a socket that rules match, at one moment.
type facts struct {
	socket      *Socket
	state       State
	roleUnknown bool // each role counts
	// ownersIncomplete is set if there may be another owner, with any command.
	ownersIncomplete bool
	unread           bool // bytes
	unacked          bool // bytes
	pending          bool // either
}

// sentence is what one policy says of a socket: the most that is done to it, and when.
type sentence struct {
	mode         Mode
	ask, end     Time          // Forever is never
	above        int           // of the rule that applies
	askPatience  time.Duration // between the begin and the first question
	askBegin     Time
	probes       int
	probeSpacing time.Duration
}

// join returns the more conservative of each component.
func (s sentence) join(o sentence) sentence {
	s.mode = min(s.mode, o.mode)
	if o.ask > s.ask {
		s.ask, s.askPatience, s.askBegin = o.ask, o.askPatience, o.askBegin
	}
	s.end, s.above = max(s.end, o.end), max(s.above, o.above)
	s.probes, s.probeSpacing = max(s.probes, o.probes), max(s.probeSpacing, o.probeSpacing)
	return s
}

// sentenceOf returns the sentence of a policy: one for each owner, joined.
func sentenceOf(p *Policy, f facts, b begins, minGrace time.Duration) sentence {
	if len(f.socket.Commands) == 0 {
		return sentenceOfOwner(p, f, "", b, minGrace)
	}
	joined := sentenceOfOwner(p, f, f.socket.Commands[0], b, minGrace)
	for _, command := range f.socket.Commands[1:] {
		joined = joined.join(sentenceOfOwner(p, f, command, b, minGrace))
	}
	return joined
}

// entry is an exemption or a rule.
type entry struct {
	match  Match
	layer  Layer
	above  int
	exempt bool
}

func sentenceOfOwner(p *Policy, f facts, command string, b begins, minGrace time.Duration) sentence {
	entries := make([]entry, 0, len(p.Exempt)+len(p.Rules))
	for _, m := range p.Exempt {
		entries = append(entries, entry{match: m, exempt: true})
	}
	for _, r := range p.Rules {
		entries = append(entries, entry{match: r.Match, layer: r.Layer, above: r.Above})
	}
	var maybe []sentence
	decided := values(*p, f, b, minGrace)
	for _, e := range entries {
		matches, certain := e.match.matches(f, command)
		if !matches {
			continue
		}
		s := sentence{mode: Off, ask: Forever, end: Forever}
		if !e.exempt {
			s = values(p.With(e.layer), f, b, minGrace)
			s.above = e.above
		}
		if certain {
			decided = s
			break
		}
		maybe = append(maybe, s)
	}
	for _, s := range maybe {
		decided = decided.join(s)
	}
	return decided
}

// values returns the sentence of the values outside of the rules, or of one rule.
func values(p Policy, f facts, b begins, minGrace time.Duration) sentence {
	s := sentence{mode: p.Mode, ask: Forever, end: Forever, probes: p.ProbeCount, probeSpacing: p.ProbeInterval}
	if p.Mode == Off {
		return s
	}
	begin, grace := b.progress, p.CloseWaitGrace
	if p.ByState {
		begin = b.state
	}
	if f.state == FinWait2 {
		grace = p.FinWait2Grace
	}
	if grace != Never {
		grace = max(grace, minGrace)
		if f.pending {
			grace = max(grace, p.PendingGrace)
		}
	}
	s.end = plus(begin, grace)
	if !f.unacked && p.ProbeAfter != Never {
		s.askPatience, s.askBegin = max(p.ProbeAfter, minGrace), begin
		s.ask = plus(begin, s.askPatience)
	}
	return s
}

// matches reports whether the match applies, and whether that is certain.
func (m Match) matches(f facts, command string) (matches, certain bool) {
	s := f.socket
	switch {
	case m.State != 0 && m.State != f.state,
		m.LocalPort != 0 && m.LocalPort != s.LocalPort,
		m.PeerPort != 0 && m.PeerPort != s.PeerPort,
		m.Loopback && !s.Loopback,
		m.Command != "" && m.Command != command && !f.ownersIncomplete,
		m.Role != 0 && m.Role != s.Role && !f.roleUnknown:
		return false, true
	case m.Command != "" && m.Command != command:
		return true, false
	case m.Role == 0:
		return true, true
	}
	return true, !f.roleUnknown
}

// plus adds a patience to a time: Forever and Never stay.
func plus(t Time, d time.Duration) Time {
	if t == Forever || d == Never || t > Forever-d {
		return Forever
	}
	return t + d
}
