// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"math"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Forever is the moment that never comes.
const Forever monotime.Time = math.MaxInt64

// Sentence is what a policy comes to for one socket: the most that is done, from when on its peer is asked, and
// from when on it is destroyed though its peer may be alive.
type Sentence struct {
	Act          Mode
	AskAt, EndAt monotime.Time // Forever for never

	// Why the components are what they are.
	ActWhy, AskWhy, EndWhy Why

	// How the peer is asked.
	ProbeAfter, ProbeInterval time.Duration
	ProbeCount                int
	AskSigpipe                bool // though the answer may end the owner by SIGPIPE
}

// Why says what gave a component of a sentence.
type Why struct {
	Ref RuleRef
	// Reason is what spares the socket for good or beyond its grace: ModeOff, Exempted, GraceNever, UnreadData,
	// UnackedData or OwnerFrozen; Unknown where the time is all there is to it.
	Reason Reason
	// Start is when the idle time starts, Patience what is added to it, and Grace what would be if no bytes were pending.
	Start           monotime.Time
	Patience, Grace Patience
	// May is set where it is not known whether the rule or the exemption matches.
	May bool
}

// List is a part of a policy.
type List uint8

// The parts, in the order in which they are read.
const (
	ListExempt List = iota
	ListRules
	ListBase // the values outside of any rule
)

// RuleRef names one entry of one of the policies that are judged.
type RuleRef struct {
	Policy int // index in the policies
	List   List
	Index  int // in the list; 0 in ListBase
}

func (r RuleRef) compare(other RuleRef) int {
	return cmp.Or(cmp.Compare(r.Policy, other.Policy), cmp.Compare(r.List, other.List), cmp.Compare(r.Index, other.Index))
}

func (w Why) compare(other Why) int {
	may := func(w Why) int {
		if w.May {
			return 1
		}
		return 0
	}
	return cmp.Or(w.Ref.compare(other.Ref), cmp.Compare(may(w), may(other)), cmp.Compare(w.Reason, other.Reason),
		cmp.Compare(w.Start, other.Start), cmp.Compare(w.Patience, other.Patience), cmp.Compare(w.Grace, other.Grace))
}

// Join returns the sentence of both: the least act, the latest AskAt, the latest EndAt. Where both give the same, the
// reason is that of the policy, and in it of the entry, that comes first.
func Join(a, b Sentence) Sentence {
	act, actWhy := pick(a.Act.orOff(), a.ActWhy, b.Act.orOff(), b.ActWhy, 1)
	askAt, askWhy := pick(a.AskAt, a.AskWhy, b.AskAt, b.AskWhy, 1)
	endAt, endWhy := pick(a.EndAt, a.EndWhy, b.EndAt, b.EndWhy, 1)
	return Sentence{
		Act: act, AskAt: askAt, EndAt: endAt, ActWhy: actWhy, AskWhy: askWhy, EndWhy: endWhy,
		ProbeAfter: max(a.ProbeAfter, b.ProbeAfter), ProbeInterval: max(a.ProbeInterval, b.ProbeInterval),
		ProbeCount: max(a.ProbeCount, b.ProbeCount), AskSigpipe: a.AskSigpipe && b.AskSigpipe,
	}
}

// lessen returns the less conservative of each component: what may come of two sentences of which one applies.
func lessen(a, b Sentence) Sentence {
	act, actWhy := pick(a.Act.orOff(), a.ActWhy, b.Act.orOff(), b.ActWhy, -1)
	askAt, askWhy := pick(a.AskAt, a.AskWhy, b.AskAt, b.AskWhy, -1)
	endAt, endWhy := pick(a.EndAt, a.EndWhy, b.EndAt, b.EndWhy, -1)
	return Sentence{
		Act: act, AskAt: askAt, EndAt: endAt, ActWhy: actWhy, AskWhy: askWhy, EndWhy: endWhy,
		ProbeAfter: min(a.ProbeAfter, b.ProbeAfter), ProbeInterval: min(a.ProbeInterval, b.ProbeInterval),
		ProbeCount: min(a.ProbeCount, b.ProbeCount), AskSigpipe: a.AskSigpipe || b.AskSigpipe,
	}
}

// pick returns the greater of two values, with sign -1 the lesser, and why it is what it is.
func pick[T cmp.Ordered](a T, aWhy Why, b T, bWhy Why, sign int) (T, Why) {
	switch c := sign * cmp.Compare(a, b); {
	case c > 0, c == 0 && aWhy.compare(bWhy) <= 0:
		return a, aWhy
	}
	return b, bWhy
}

// isEndDue reports whether the socket's time has come.
func (s *Sentence) isEndDue(now monotime.Time) bool { return s.Act != Off && !now.Before(s.EndAt) }

// isAskDue reports whether its peer must be asked.
func (s *Sentence) isAskDue(now monotime.Time) bool { return s.Act != Off && !now.Before(s.AskAt) }

// sentence returns the policy's sentence for a socket that an entry of its lists applies to, or its base values.
func (p *Policy) sentence(ref RuleRef, may bool, h *History, s *inetdiag.Socket) Sentence {
	if ref.List == ListExempt {
		return p.spare(Why{Ref: ref, Reason: Exempted, May: may})
	}
	var rule *Rule
	if ref.List == ListRules {
		rule = &p.Rules[ref.Index]
	}
	t := p.terms(rule, s.State)
	if t.mode == Off {
		return p.spare(Why{Ref: ref, Reason: ModeOff, May: may})
	}
	start := h.IdleStart(t.clock)
	why := Why{Ref: ref, May: may, Start: start}
	out := Sentence{Act: t.mode, ActWhy: why, ProbeAfter: time.Duration(t.probeAfter), AskSigpipe: t.askSigpipe}
	out.ProbeCount, out.ProbeInterval = p.ProbeCount, p.ProbeInterval
	out.AskAt, out.AskWhy = askAt(t, why, h, s)
	out.EndAt, out.EndWhy = endAt(t, why, s)
	return out
}

// spare returns the sentence of a socket that is left alone.
func (p *Policy) spare(why Why) Sentence {
	return Sentence{
		Act: Off, AskAt: Forever, EndAt: Forever, ActWhy: why, AskWhy: why, EndWhy: why,
		ProbeAfter: time.Duration(Never), ProbeCount: p.ProbeCount, ProbeInterval: p.ProbeInterval,
	}
}

// hidesBytes reports whether unread bytes may be lost if the connection ends: the record layer of kernel TLS
// stops at the socket's error.
func hidesBytes(s *inetdiag.Socket) bool { return s.ULP == "tls" && Unread(s) > 0 }

func askAt(t terms, why Why, h *History, s *inetdiag.Socket) (monotime.Time, Why) {
	why.Patience, why.Grace = t.probeAfter, t.probeAfter
	switch {
	case t.probeAfter == Never:
		return Forever, why
	case s.WQueue > 0:
		why.Reason = UnackedData // the kernel sends no probe then
		return Forever, why
	case hidesBytes(s):
		why.Reason = UnreadData
		return Forever, why
	}
	at := nextQuestion(t.probeAfter, h.IdleStart(ClockProgress), h.Asks, h.Asked)
	if t.clock == ClockState {
		// Its idle time does not begin again with progress, and so its questions do not.
		at = min(at, nextQuestion(t.probeAfter, why.Start, h.AllAsks, h.Asked))
	}
	return at, why
}

func endAt(t terms, why Why, s *inetdiag.Socket) (monotime.Time, Why) {
	why.Patience, why.Grace = t.grace, t.grace
	switch unread := Unread(s) > 0; {
	case t.grace == Never:
		why.Reason = GraceNever
		return Forever, why
	case unread || s.WQueue > 0:
		why.Patience, why.Reason = max(t.grace, t.pendingGrace), UnackedData
		if unread {
			why.Reason = UnreadData
		}
		if hidesBytes(s) {
			why.Patience = Never
		}
	}
	if why.Patience == Never {
		return Forever, why
	}
	return why.Start.Add(time.Duration(why.Patience)), why
}

// nextQuestion returns when a peer is asked next that was asked a number of times since the start of an idle time, and
// last at a time, zero if never.
func nextQuestion(probeAfter Patience, start monotime.Time, asks uint8, asked monotime.Time) monotime.Time {
	wait, gap := questionAfter(time.Duration(probeAfter), asks)
	at := start.Add(wait)
	switch {
	case asked.IsZero():
		return at
	case gap < maxGap:
		return max(at, asked.Add(gap/2)) // questions that were held up do not follow each other closely
	default:
		return max(at, asked.Add(gap)) // for longer than questions are counted
	}
}

// maxGap is the longest time between two questions to a peer that is alive. It is not to be below 20 minutes:
// BSD peers that have closed for good start their timer, 10 minutes, again with each probe.
const maxGap = time.Hour

// questionAfter returns when a peer is asked that has been asked so often, counted from the start of the idle time: at 1,
// 3, 7, 15, ... times probeAfter; and how long after the question before.
func questionAfter(probeAfter time.Duration, asks uint8) (after, gap time.Duration) {
	after, gap = probeAfter, probeAfter
	for range asks {
		if gap = min(gap, math.MaxInt64/2) * 2; gap > maxGap {
			gap = max(maxGap, probeAfter)
		}
		if after += gap; after < 0 {
			return math.MaxInt64, gap
		}
	}
	return after, gap
}
