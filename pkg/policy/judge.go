// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Owner is a process that holds a socket, with the properties that the judgement uses.
type Owner struct {
	Command string // comm
	Frozen  bool   // by the cgroup freezer, or stopped
	// DiesOfSigpipe is set if SIGPIPE has its default action.
	DiesOfSigpipe bool
}

// Facts are the facts about a socket that neither its history nor the kernel's answer has.
type Facts struct {
	Role   Role // RoleUnknown: the history's applies
	Owners []Owner
	// OwnersKnown is set after a look-up of the owners, even if it has found none.
	OwnersKnown bool
	// OwnersComplete is set if a look-up of all processes has found no other owner. Otherwise there may be others, which
	// count as running.
	OwnersComplete bool
}

// Verdict is the decision about one socket.
type Verdict struct {
	// Sentence is the joined one. An additional policy, patience, exemption or unknown never makes any of its components
	// less conservative.
	Sentence
	Reason Reason
	// Ask is set if the peer must be asked now.
	Ask bool
	// NeedsOwners is set if the owners must be looked up first: they decide whether a question or a destroy is due.
	NeedsOwners bool
	// Deadline is when the socket will be destroyed if nothing changes; it may have passed. Zero if it will not be, for
	// example because it is exempt.
	Deadline monotime.Time
	// Again is when the next look is needed, with PeerSpared at the other end; zero if the next sweep is early enough.
	Again monotime.Time // prose:ok: the time of the next look
	// Due is when a question or a destroy can be due at the earliest without progress, zero if none can. A look before that, at
	// Again, only notices progress.
	Due monotime.Time
	// Standing spares the other end of the connection too.
	Standing Standing
	// Other is the other end's Standing if that is the reason.
	Other Standing
	// Above are the above rules that certainly match. Each must allow a destroy by grace.
	Above []RuleRef
}

// Destroy reports whether the socket must be destroyed now, if the rules of Above allow it.
func (v Verdict) Destroy() bool { return v.Reason == Destroyable && !v.NeedsOwners }

// Capped returns the verdict with a mode that is not less conservative than m.
func (v Verdict) Capped(m Mode) Verdict {
	m = m.orOff()
	if m <= v.Act.orOff() {
		return v
	}
	v.Act, v.ActWhy, v.Ask = m, Why{Reason: ModeOff}, false
	if v.Standing == StandingNone {
		v.Standing = StandingMode
	}
	switch {
	case m == Off:
		v.Reason, v.NeedsOwners, v.Deadline, v.Again, v.Due, v.Above = ModeOff, false, 0, 0, 0, nil
		v.AskAt, v.EndAt = Forever, Forever
	case v.Reason == Destroyable:
		v.Reason = WouldDestroy
	case v.Reason == AskingPeer:
		v.Reason = WouldAsk
	}
	return v
}

// Standing is a reason of one end of a connection that spares the other end as well.
type Standing uint8

// The standing reasons.
const (
	StandingNone        Standing = iota
	StandingGraceNever           // its time never ends
	StandingExempt               // it is exempt
	StandingMode                 // its mode is off or observe
	StandingUnread               // its owner has bytes to read, and is within its patience
	StandingNotAccepted          // it is in a listener's accept queue
	StandingFrozen               // all its owners are frozen or stopped
	StandingUnknown              // it must be looked up first
)

// String returns the reason in words.
func (s Standing) String() string {
	switch s {
	case StandingGraceNever:
		return "is never destroyed"
	case StandingExempt:
		return "is exempt"
	case StandingMode:
		return "is observed or left alone"
	case StandingUnread:
		return "has bytes to read"
	case StandingNotAccepted:
		return "has not been accepted yet"
	case StandingFrozen:
		return "has a frozen or stopped owner"
	case StandingUnknown:
		return "must be looked up first"
	case StandingNone:
	}
	return "spares nothing"
}

// Judge decides whether a socket must be destroyed, its peer must be asked, or why it is spared. h is Follow's history
// including this look at s. The policies are those of all attachments of its netns: each is judged separately, and the
// sentences are joined.
func Judge(policies []Policy, h *History, s *inetdiag.Socket, f Facts, now monotime.Time) Verdict {
	if v, done := judgeSocket(policies, s); done {
		return v
	}
	if f.Role == RoleUnknown {
		f.Role = h.Role
	}
	x := examination{h: h, s: s, f: f}
	var least Sentence
	var v Verdict
	for i := range policies {
		x.policy, x.index = &policies[i], i
		joined, lesser := x.judgePolicy()
		if i == 0 {
			v.Sentence, least = joined, lesser
			continue
		}
		v.Sentence, least = Join(v.Sentence, joined), Join(least, lesser)
	}
	v.Above = x.above
	if len(f.Owners) > 0 && !slices.ContainsFunc(f.Owners, func(o Owner) bool { return !o.Frozen }) {
		v.AskAt, v.EndAt = Forever, Forever
		v.AskWhy.Reason, v.EndWhy.Reason = OwnerFrozen, OwnerFrozen
		v.AskWhy.May, v.EndWhy.May = false, false
		least = v.Sentence
	}
	v.finish(&least, h, s, f, now)
	return v
}

// judgeSocket returns the verdict on a socket that is ineligible under any policy.
func judgeSocket(policies []Policy, s *inetdiag.Socket) (Verdict, bool) {
	v := Verdict{Sentence: Sentence{Act: Off, AskAt: Forever, EndAt: Forever}}
	switch {
	case !s.State.HalfClosed():
		v.Reason = NotHalfClosed
	case s.Inode == 0 && s.State == inetdiag.FinWait2:
		v.Reason = Orphan
	case s.Inode == 0:
		v.Reason, v.Standing = NotAccepted, StandingNotAccepted
	case s.ULP == "mptcp":
		v.Reason = MPTCP
	case len(policies) == 0:
		v.Reason = NotRegistered
	case !s.HasInfo:
		v.Reason = Unknown
	default:
		return v, false
	}
	return v, true
}

// examination is the judgement of one socket by one policy.
type examination struct {
	policy *Policy
	index  int
	h      *History
	s      *inetdiag.Socket
	f      Facts
	above  []RuleRef

	command  string // of the owner that is judged
	searches int    // calls of from
	unknown  bool   // the owner is unknown
}

// judgePolicy returns the policy's sentence, joined over all owners and all outcomes of unknown facts; and the least
// conservative sentence that can remain once the owners are known.
func (x *examination) judgePolicy() (joined, least Sentence) {
	x.command, x.unknown = "", len(x.f.Owners) == 0
	if !x.policy.namesCommands() || x.unknown {
		return x.from(0)
	}
	for i, o := range x.f.Owners {
		if isNamed(x.f.Owners[:i], o.Command) {
			continue
		}
		x.command = o.Command
		if sentence, _ := x.from(0); i == 0 {
			joined = sentence
		} else {
			joined = Join(joined, sentence)
		}
	}
	least = joined
	if !x.f.OwnersComplete { // another owner may have any name
		x.command, x.unknown = "", true
		sentence, _ := x.from(0)
		joined = Join(joined, sentence)
	}
	return joined, least
}

// isNamed reports whether any owner has the name.
func isNamed(all []Owner, command string) bool {
	return slices.ContainsFunc(all, func(o Owner) bool { return sameCommand(o.Command, command) })
}

// from returns the sentence of the policy's entries from index i on, exemptions first. An entry that certainly matches ends
// the search; one that may match contributes its sentence, and the search continues.
func (x *examination) from(i int) (joined, least Sentence) {
	x.searches++
	exempt := len(x.policy.Exempt)
	for ; i < exempt+len(x.policy.Rules); i++ {
		ref := RuleRef{Policy: x.index, List: ListExempt, Index: i}
		var match *Match
		if i < exempt {
			match = &x.policy.Exempt[i]
		} else {
			ref.List, ref.Index = ListRules, i-exempt
			match = &x.policy.Rules[ref.Index].Match
		}
		c := match.test(x.s, x.f.Role, x.command, x.unknown)
		if c == no {
			continue
		}
		own := x.policy.sentence(ref, c != yes, x.h, x.s)
		if c == yes {
			x.addAbove(ref)
			return own, own
		}
		joined, least = x.from(i + 1)
		switch c {
		case mayByOwner:
			least = lessen(own, least)
		case mayByRole:
			least = Join(own, least)
		default: // if the owner does not match, the remaining entries apply
		}
		return Join(own, joined), least
	}
	base := x.policy.sentence(RuleRef{Policy: x.index, List: ListBase}, false, x.h, x.s)
	return base, base
}

// addAbove records an above rule that certainly matches.
func (x *examination) addAbove(ref RuleRef) {
	if ref.List == ListRules && x.policy.Rules[ref.Index].Values.Above != nil && !slices.Contains(x.above, ref) {
		x.above = append(x.above, ref)
	}
}

// namesCommands reports whether any rule or exemption matches commands.
func (p *Policy) namesCommands() bool {
	return slices.ContainsFunc(p.Exempt, func(m Match) bool { return len(m.Commands) > 0 }) ||
		slices.ContainsFunc(p.Rules, func(r Rule) bool { return len(r.Match.Commands) > 0 })
}

// finish sets the rest of the verdict after the joined sentence. least is the least conservative sentence that can remain
// once the owners are known.
func (v *Verdict) finish(least *Sentence, h *History, s *inetdiag.Socket, f Facts, now monotime.Time) {
	v.Standing = v.standing(s, now)
	mayBeDue := least.isEndDue(now) || least.isAskDue(now)
	v.NeedsOwners = mayBeDue && !f.OwnersKnown
	switch {
	case v.isEndDue(now):
		v.Reason = WouldDestroy
		if v.Act == Destroy {
			v.Reason = Destroyable
		}
	case v.isAskDue(now):
		v.Reason = WouldAsk
		if v.Act == Destroy {
			v.Reason, v.Ask = AskingPeer, !v.NeedsOwners
		}
	case mayBeDue:
		v.Reason = OwnerUnknown
	default:
		v.Reason = least.reason(h, now)
		v.ActWhy, v.AskWhy, v.EndWhy = least.ActWhy, least.AskWhy, least.EndWhy // of that reason
	}
	if least.EndAt != Forever {
		v.Deadline = least.EndAt
	}
	v.Again, v.Due = v.nextLook(least, h, s, now)
}

// standing returns the reason that spares the other end too.
func (v *Verdict) standing(s *inetdiag.Socket, now monotime.Time) Standing {
	switch {
	case v.EndWhy.Reason == OwnerFrozen:
		return StandingFrozen
	case v.Act == Off && v.ActWhy.Reason == Exempted:
		return StandingExempt
	case v.Act == Off:
		return StandingMode
	case Unread(s) > 0 && now.Before(v.EndAt):
		return StandingUnread
	case v.EndAt == Forever:
		return StandingGraceNever
	case v.Act != Destroy: // last: if both ends are observed, the other reasons report what would be spared
		return StandingMode
	}
	return StandingNone
}

// reason returns why neither a question nor a destroy is due.
func (s *Sentence) reason(h *History, now monotime.Time) Reason {
	why := s.EndWhy
	switch {
	case why.Reason == OwnerFrozen:
		return OwnerFrozen
	case s.Act == Off:
		return s.ActWhy.Reason
	case why.Reason == GraceNever:
		return GraceNever
	case why.Reason != Unknown && !now.Before(why.Start.Add(time.Duration(why.Grace))):
		return why.Reason
	case !h.PeerAlive.IsZero():
		return PeerAlive
	case h.Start.Before(h.Progress) && !why.Start.Before(h.Progress):
		return Progressing
	}
	return WithinGrace
}

// nextLook returns when the next look is needed, zero if the next sweep is early enough, and Verdict.Due.
func (v *Verdict) nextLook(least *Sentence, h *History, s *inetdiag.Socket, now monotime.Time) (again, due monotime.Time) {
	rarer := h.NextRareLook(now)
	if v.Reason == OwnerFrozen {
		return rarer, 0
	}
	if v.Act == Off && least.Act == Off {
		return 0, 0
	}
	next := Forever
	for _, at := range []monotime.Time{v.AskAt, v.EndAt, least.AskAt, least.EndAt} {
		if now.Before(at) {
			next = min(next, at)
		}
	}
	if next != Forever {
		due = next
	}
	pending := s.State == inetdiag.FinWait2 || Unread(s) > 0
	if first := min(least.AskWhy.Patience, least.EndWhy.Grace); pending && h.Last == h.Start && first != Never {
		// After its only look so far its owner may have read. That counts as progress at the look that notices it.
		if early := h.Start.Add(time.Duration(first) / 4); now.Before(early) {
			next = min(next, early)
		}
	}
	if v.Reason == UnreadData || v.Reason == UnackedData {
		next = min(next, rarer)
	}
	if next == Forever {
		return 0, due
	}
	return next, due
}
