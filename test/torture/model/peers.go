// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "time"

// peer is what the peer of a socket answers at a moment.
type peer struct {
	gone, silent bool
	since        Time
}

// peerAt returns the peer's state: for the conservative reading it is gone or silent only if that is certain.
func peerAt(s *Socket, now Time, how reading) (p peer) {
	for _, e := range s.Events {
		counts, since := e.Span.Before <= now, e.Span.Before
		if how == conservative {
			counts, since = e.Span.After <= now, e.Span.After
		}
		switch e.Kind {
		case PeerGone:
			if counts {
				p = peer{gone: true, since: since}
			}
		case PeerSilent:
			if counts && !p.gone {
				p = peer{silent: true, since: since}
			}
		case PeerBack:
			if how == conservative && e.Span.Before <= now || how == permissive && e.Span.After <= now {
				p = peer{}
			}
		}
	}
	return p
}

// possiblyGone returns the earliest time before a time at which the peer may have been gone or silent.
func (r *Run) possiblyGone(s *Socket, before Time) (Time, bool) {
	for _, e := range s.Events {
		if (e.Kind == PeerGone || e.Kind == PeerSilent) && e.Span.Before < before {
			return e.Span.Before, true
		}
	}
	return 0, false
}

// MayHaveGone reports whether a question before a time may have ended the socket in this way.
func (r *Run) MayHaveGone(s *Socket, before Time, how How) bool {
	for _, e := range s.Events {
		if e.Span.Before < before && (e.Kind == PeerGone && how == Reset || e.Kind == PeerSilent && how == TimedOut) {
			return true
		}
	}
	return false
}

// maxGap is the longest time between two questions, unless probeAfter is longer.
const maxGap = time.Hour

// mustAsk returns the time from which an ended question is required, if nothing changes after now: that of the first
// question after the peer has gone, with the time that its probes take.
func (r *Run) mustAsk(s *Socket, now Time) (Time, bool) {
	p := peerAt(s, now, conservative)
	if !p.gone && !p.silent || r.is(Unasked, s.Netns, now, conservative) {
		return Forever, false
	}
	late, ok := r.judge(s, now, conservative)
	if !ok || late.mode != Destroy || late.ask == Forever {
		return Forever, false
	}
	x := r.at(s, now, permissive)
	if !x.ok {
		return Forever, false
	}
	// The reaper's idle time begins between these two.
	first, last := min(x.begins.progress, x.begins.state), late.askBegin
	ask, gap := plus(first, late.askPatience), 2*late.askPatience
	offset := late.askPatience
	for ask < p.since {
		offset += gap
		ask = plus(first, offset)
		gap = min(2*gap, max(maxGap, late.askPatience))
	}
	at := plus(plus(last, offset), gap/2) // not earlier than half a gap after the last answer
	for i := range r.Effects {            // a question that could not be asked is asked again later
		if e := &r.Effects[i]; (e.Kind == Down || e.Kind == Unasked) && e.affects(s.Netns) && e.Since <= now && at >= e.Since {
			at = max(at, plus(e.Until, r.Bounds.AskRetry))
		}
	}
	if p.silent {
		at = plus(at, time.Duration(late.probes)*late.probeSpacing)
	}
	return max(at, r.sparedUntil(s, now, conservative)), true
}

// sparedUntil returns the time until which the other end protects the socket from destroy and question, if nothing changes:
// 0 if it does not, Forever if it does whatever the time.
func (r *Run) sparedUntil(s *Socket, now Time, how reading) Time {
	p := s.Partner
	if p == nil {
		return 0
	}
	if e := p.End; e != nil && (how == permissive && e.From <= now || how == conservative && r.looked(p.Netns, e.To) <= now) {
		return 0
	}
	x := r.at(p, now, how)
	if !x.ok {
		if protectsUnjudged(p, now, how) {
			return Forever
		}
		return 0
	}
	var thawed Time // when the reaper notices it
	for _, e := range p.Events {
		if e.Kind == Thawed && how == conservative && e.Span.Before <= now {
			thawed = e.Span.After + r.Bounds.Thaw
		}
	}
	j, ok := r.judge(p, now, how)
	switch {
	case !ok || j.mode != Destroy:
		return Forever
	case j.end == Forever || x.facts.unread:
		return max(j.end, thawed)
	}
	return thawed
}

// protectsUnjudged reports whether an end that is not judged protects the other one: it is frozen, or not accepted. Otherwise
// it is not half-closed, or is closed.
func protectsUnjudged(p *Socket, now Time, how reading) bool {
	accepted, frozen := p.Accepted, false
	exposing := func(span Span) bool {
		return how == permissive && span.Before <= now || how == conservative && span.After <= now
	}
	for _, e := range p.Events {
		switch {
		case e.Kind == Accepted && exposing(e.Span):
			accepted = true
		case e.Kind == Frozen && (how == permissive && e.Span.After+ownersAge <= now || how == conservative && e.Span.Before <= now):
			frozen = true
		case e.Kind == Thawed && exposing(e.Span):
			frozen = false
		case e.Kind == Closed && e.Span.Before <= now:
			return false
		}
	}
	return frozen || !accepted
}
