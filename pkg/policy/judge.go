// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Verdict is what is to be done about one socket.
type Verdict struct {
	Reason Reason
	// Deadline is when the socket's grace ends if nothing more happens, in the future or in the past.
	// Zero for a socket that has none, such as an exempt one.
	Deadline monotime.Time
	// Again is when the socket must be looked at again, zero if the next sweep is soon enough.
	Again monotime.Time
	// Exemption is the entry that matched where Reason is Exempted.
	Exemption Exemption
}

// Destroy reports whether the socket is to be destroyed, if the mode allows it.
func (v Verdict) Destroy() bool { return v.Reason == Destroyable }

// Judge says whether a socket is to be destroyed or why it is spared. h is Follow's history up to and with
// this very look at s. The mode is not its business but for "off": whether a destroy is carried out or
// only noted is decided where all caps are known.
func Judge(p Policy, h History, s *inetdiag.Socket, now monotime.Time) Verdict {
	switch {
	case !s.State.HalfClosed():
		return Verdict{Reason: NotHalfClosed}
	case s.Inode == 0 && s.State == inetdiag.FinWait2:
		return Verdict{Reason: Orphan}
	case s.Inode == 0:
		return Verdict{Reason: NotAccepted}
	case s.ULP == "mptcp":
		return Verdict{Reason: MPTCP}
	case !s.HasInfo:
		return Verdict{Reason: Unknown}
	}
	if e, ok := p.Exempts(s.ID.Local(), s.ID.Peer()); ok {
		return Verdict{Reason: Exempted, Exemption: e}
	}
	if MostCareful(p.Mode) == Off {
		return Verdict{Reason: ModeOff}
	}
	grace := p.Grace(s.State)
	if grace == Never {
		return Verdict{Reason: GraceNever}
	}
	return judgeTime(p, h, s, time.Duration(grace), now)
}

// judgeTime judges a socket whose time is running.
func judgeTime(p Policy, h History, s *inetdiag.Socket, grace time.Duration, now monotime.Time) Verdict {
	young, from := Young, h.Since
	if p.Clock == ClockProgress && h.Since.Before(h.Progress) {
		young, from = Progressing, h.Progress
	}
	deadline := from.Add(grace)
	due := deadline
	if p.Clock == ClockProgress && !h.First.IsZero() {
		// What the owner did before the first look is not known. It may have been reading until then, so
		// one look proves nothing: it takes two, a quarter of the grace apart.
		due = max(due, h.First.Add(grace/4))
	}
	again := due
	if p.Clock == ClockProgress && h.First.IsZero() && h.Last == h.Since && (s.State == inetdiag.FinWait2 || Unread(s) > 0) {
		// It was looked at only as it became half-closed, and its owner may be reading since: that is progress as of
		// the look that notices it.
		again = min(due, h.Since.Add(grace/4))
	}
	switch {
	case now.Before(deadline):
		return Verdict{Reason: young, Deadline: deadline, Again: again}
	case p.PendingData == PendingKeep && Unread(s) > 0:
		return Verdict{Reason: UnreadData, Deadline: deadline, Again: now.Add(pause(grace))}
	case p.PendingData == PendingKeep && s.WQueue > 0:
		return Verdict{Reason: UnacknowledgedData, Deadline: deadline, Again: now.Add(pause(grace))}
	case now.Before(due):
		return Verdict{Reason: SeenOnce, Deadline: due, Again: due}
	}
	return Verdict{Reason: Destroyable, Deadline: due}
}

// pause is how long to wait before looking once more at a socket that is past its deadline and spared for
// its pending data, so that progress is noticed while it is going on.
func pause(grace time.Duration) time.Duration { return min(max(grace/4, time.Second), time.Minute) }
