// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Explain returns a sentence with the reason of a verdict, the entry and the source that decided, and what follows. It
// answers why a socket was, or was not, destroyed. The policies are those of the judgement.
func Explain(v *Verdict, policies []Policy, h *History, s *inetdiag.Socket, now monotime.Time) string {
	switch v.Reason {
	case NotHalfClosed:
		return s.State.String() + " is not half-closed"
	case NotRegistered:
		return "its network namespace has no attachment"
	case Orphan:
		return "no process owns it: the kernel closes it after net.ipv4.tcp_fin_timeout"
	case NotAccepted:
		return "its listener has not accepted it yet"
	case MPTCP:
		return "it is a subflow of an MPTCP connection"
	case Unknown:
		return "the kernel returned too little to judge it"
	case PeerSpared:
		return "the other end of its connection " + v.Other.String()
	case BelowThreshold:
		return "past its grace, but the number of such sockets is not above its rule's limit"
	case OwnerFrozen:
		return "all its owners are frozen or stopped"
	case OwnerUnknown:
		return "its owner is unknown, and the values that apply depend on it"
	default:
	}
	e := explanation{policies: policies, state: s.State}
	switch v.Reason {
	case Exempted:
		return e.may(v.ActWhy) + "exempt: " + e.entry(v.ActWhy.Ref)
	case ModeOff:
		if v.ActWhy == (Why{Reason: ModeOff}) {
			return "the mode is off"
		}
		return e.may(v.ActWhy) + "the mode is off" + e.by(keyMode, v.ActWhy.Ref)
	case GraceNever:
		return e.may(v.EndWhy) + "its grace is never" + e.by(e.graceKey(), v.EndWhy.Ref) + e.next(v, now)
	case AskingPeer, WouldAsk:
		text := "idle for " + ago(now, v.AskWhy.Start)
		if v.Reason == WouldAsk {
			return text + ": its peer would be asked in mode destroy" + e.by(keyProbeAfter, v.AskWhy.Ref)
		}
		return text + ": its peer is asked" + e.by(keyProbeAfter, v.AskWhy.Ref)
	case UnreadData, UnackedData:
		text := fmt.Sprintf("its owner has %d bytes still to read", Unread(s))
		if v.Reason == UnackedData {
			text = fmt.Sprintf("its peer has %d bytes still to acknowledge", s.WQueue)
		}
		key := keyPendingGrace
		if v.EndWhy.Patience == v.EndWhy.Grace {
			key = e.graceKey()
		}
		return text + e.by(key, v.EndWhy.Ref) + e.next(v, now)
	case Destroyable, WouldDestroy:
		key := e.graceKey()
		if v.EndWhy.Reason != Unknown && v.EndWhy.Patience > v.EndWhy.Grace {
			key = keyPendingGrace
		}
		return "its " + v.EndWhy.Patience.String() + " " + plainKey(key) + " ended " + ago(now, v.EndAt) + " ago" + e.by(key, v.EndWhy.Ref)
	case PeerAlive:
		return "its peer answered " + ago(now, h.PeerAlive) + " ago" + e.by(e.graceKey(), v.EndWhy.Ref) + e.next(v, now)
	case Progressing:
		return "moved bytes " + ago(now, h.Progress) + " ago, within its " + v.EndWhy.Grace.String() + " grace" +
			e.by(e.graceKey(), v.EndWhy.Ref) + e.next(v, now)
	default:
		return "idle for " + ago(now, v.EndWhy.Start) + " of its " + v.EndWhy.Grace.String() + " grace" +
			e.by(e.graceKey(), v.EndWhy.Ref) + e.next(v, now)
	}
}

// Entry describes the rule or exemption that decides a verdict's deadline, with its source; "" if none matches. The policies
// are those of the judgement.
func Entry(v *Verdict, policies []Policy) string {
	why := v.EndWhy
	if v.Reason == Exempted || v.Act == Off {
		why = v.ActWhy
	}
	if why.Ref.List == ListBase || why == (Why{}) || why == (Why{Reason: ModeOff}) || why.Ref.Policy >= len(policies) {
		return ""
	}
	e := explanation{policies: policies}
	return e.may(why) + e.entry(why.Ref)
}

// explanation finds the sources of values.
type explanation struct {
	policies []Policy
	state    inetdiag.State
}

func (e *explanation) graceKey() string {
	if e.state == inetdiag.FinWait2 {
		return keyFinWait2Grace
	}
	return keyCloseWaitGrace
}

// plainKey returns the name of a patience in a sentence.
func plainKey(key string) string {
	if key == keyPendingGrace {
		return "pending grace"
	}
	return keyGrace
}

func (e *explanation) may(w Why) string {
	if w.May {
		return "its role or owner is unknown, and possibly "
	}
	return ""
}

// by returns the entry, or else the source, of a value.
func (e *explanation) by(key string, ref RuleRef) string {
	if ref.Policy >= len(e.policies) {
		return ""
	}
	if p := &e.policies[ref.Policy]; ref.List == ListRules && ref.Index < len(p.Rules) && p.Rules[ref.Index].Values.names(key) {
		return " (" + e.entry(ref) + ")"
	}
	return " (" + e.source(ref.Policy, key) + ")"
}

// entry describes an entry of a list: its index, its match and the source of the list.
func (e *explanation) entry(ref RuleRef) string {
	if ref.Policy >= len(e.policies) {
		return "an entry of another policy"
	}
	p := &e.policies[ref.Policy]
	switch {
	case ref.List == ListExempt && ref.Index < len(p.Exempt):
		return keyExempt + "[" + strconv.Itoa(ref.Index) + "], " + p.Exempt[ref.Index].String() + ", " + e.source(ref.Policy, keyExempt)
	case ref.List == ListRules && ref.Index < len(p.Rules):
		source := cmp.Or(p.Rules[ref.Index].Source, e.source(ref.Policy, keyRules))
		return keyRules + "[" + strconv.Itoa(ref.Index) + "], " + p.Rules[ref.Index].Match.String() + ", " + source
	}
	return "the policy"
}

func (e *explanation) source(policy int, key string) string {
	if source := e.policies[policy].Sources[key]; source != "" {
		return source
	}
	return "no source"
}

// next returns what follows, and when.
func (e *explanation) next(v *Verdict, now monotime.Time) string {
	text := ""
	if now.Before(v.AskAt) && v.AskAt != Forever && (v.Deadline.IsZero() || v.AskAt.Before(v.Deadline)) {
		text = "; its peer " + e.would(v, "is asked", "would be asked") + " in " + ago(v.AskAt, now)
	}
	if now.Before(v.Deadline) {
		is := "is destroyed"
		if v.Act == Off || v.Deadline != v.EndAt {
			is = "may be destroyed, depending on its owner,"
		}
		text += "; it " + e.would(v, is, "would be destroyed") + " in " + ago(v.Deadline, now)
	}
	return text
}

func (e *explanation) would(v *Verdict, is, would string) string {
	if v.Act == Observe {
		return would
	}
	return is
}

func ago(now, then monotime.Time) string { return FormatAge(time.Duration(now.Sub(then))) }
