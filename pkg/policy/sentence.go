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

// Forever is later than any time.
const Forever monotime.Time = math.MaxInt64

// Sentence is the decision of a policy about one socket: what is allowed, when its peer is asked, and when it is destroyed
// even if its peer may be alive.
type Sentence struct {
	Act          Mode
	AskAt, EndAt monotime.Time // Forever: never

	// The origins of the components.
	ActWhy, AskWhy, EndWhy Why

	// The parameters of a question.
	ProbeAfter, ProbeInterval time.Duration
	ProbeCount                int
	AskSigpipe                bool // ask although the answer may kill the owner with SIGPIPE
}

// Why is the origin of a component of a sentence.
type Why struct {
	Ref RuleRef
	// Reason spares the socket forever or beyond its grace: ModeOff, Exempted, GraceNever, UnreadData, UnackedData or
	// OwnerFrozen. It is Unknown if only the time spares it.
	Reason Reason
	// Start is the start of the idle time, Patience the time after it, and Grace the same without pending bytes.
	Start           monotime.Time
	Patience, Grace Patience
	// May is set if the rule or exemption only may match.
	May bool
}

// List is a part of a policy.
type List uint8

// The parts, in the order in which they are searched.
const (
	ListExempt List = iota
	ListRules
	ListBase // the values outside of any rule
)

// RuleRef identifies one entry of one of the judged policies.
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

// Join returns the joint sentence: the least act, the latest AskAt, the latest EndAt. If both have the same component,
// its Why comes from the first policy, and within it from the first entry.
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

// lessen returns the less conservative of each component: the least conservative outcome if either sentence may apply.
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

// pick returns the greater of two values (with sign -1 the lesser) and its Why.
func pick[T cmp.Ordered](a T, aWhy Why, b T, bWhy Why, sign int) (T, Why) {
	switch c := sign * cmp.Compare(a, b); {
	case c > 0, c == 0 && aWhy.compare(bWhy) <= 0:
		return a, aWhy
	}
	return b, bWhy
}

// isEndDue reports whether a destroy is due.
func (s *Sentence) isEndDue(now monotime.Time) bool { return s.Act != Off && !now.Before(s.EndAt) }

// isAskDue reports whether a question is due.
func (s *Sentence) isAskDue(now monotime.Time) bool { return s.Act != Off && !now.Before(s.AskAt) }

// sentence returns the policy's sentence for a socket to which an entry of its lists, or its base values, apply.
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

// spare returns the sentence of a socket with act off.
func (p *Policy) spare(why Why) Sentence {
	return Sentence{
		Act: Off, AskAt: Forever, EndAt: Forever, ActWhy: why, AskWhy: why, EndWhy: why,
		ProbeAfter: time.Duration(Never), ProbeCount: p.ProbeCount, ProbeInterval: p.ProbeInterval,
	}
}

// hidesBytes reports whether unread bytes may be lost when the connection is closed: kernel TLS returns the socket's error
// before them.
func hidesBytes(s *inetdiag.Socket) bool { return s.ULP == "tls" && Unread(s) > 0 }

func askAt(t terms, why Why, h *History, s *inetdiag.Socket) (monotime.Time, Why) {
	why.Patience, why.Grace = t.probeAfter, t.probeAfter
	switch {
	case t.probeAfter == Never:
		return Forever, why
	case s.WQueue > 0:
		why.Reason = UnackedData // with which the kernel sends no probe
		return Forever, why
	case hidesBytes(s):
		why.Reason = UnreadData
		return Forever, why
	}
	at := nextQuestion(t.probeAfter, h.IdleStart(ClockProgress), h.Asks, h.Asked)
	if t.clock == ClockState {
		// Progress does not restart its idle time, nor the count of its questions.
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

// nextQuestion returns when the next question is due, after a number of questions since the start of an idle time, the last
// of them at asked (zero if there was none).
func nextQuestion(probeAfter Patience, start monotime.Time, asks uint8, asked monotime.Time) monotime.Time {
	wait, gap := questionAfter(time.Duration(probeAfter), asks)
	at := start.Add(wait)
	switch {
	case asked.IsZero():
		return at
	case gap < maxGap:
		return max(at, asked.Add(gap/2)) // a delayed question does not closely precede the next one
	default:
		return max(at, asked.Add(gap)) // the count of questions may have saturated
	}
}

// maxGap is the longest time between two questions to a peer that is alive. It must be at least 20 minutes: a BSD peer that
// has closed for good restarts its timer of 10 minutes with each probe.
const maxGap = time.Hour

// questionAfter returns when the next question is due after a number of questions, from the start of the idle time (at 1, 3,
// 7, 15, ... times probeAfter), and the time between it and the previous one.
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
