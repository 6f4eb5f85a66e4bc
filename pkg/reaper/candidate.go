// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// candidate is a half-closed socket being timed. There may be 500,000 of them.
type candidate struct {
	ns      *registered
	history policy.History // of all looks
	shown   shown          // by the last look
	index   int32          // in the agenda, -1 if it has no due time
	verdict verdict        // on the last look
	step    step
	owners  *ownerSet     // of shown.inode and this connection; nil if they were not looked up
	excused monotime.Time // lateness counts from this time at the earliest
	nextEnd *candidate    // in the same bucket of the index of ends
	idle    simulate.Track
}

// shown has the fields of the last look that are not part of the history: enough to judge the socket again and to list it.
type shown struct {
	rqueue, wqueue, inode, uid uint32

	hasInfo bool // the kernel sent the socket's tcp_info
	ulp     ulp
}

// ulp is the upper layer protocol of a socket, in one byte. It distinguishes the values that the judgement uses.
type ulp uint8

const (
	ulpOther ulp = iota // or none
	ulpMPTCP
	ulpTLS
)

func ulpOf(name string) ulp {
	switch name {
	case "mptcp":
		return ulpMPTCP
	case "tls":
		return ulpTLS
	}
	return ulpOther
}

func (u ulp) String() string { return [...]string{ulpOther: "", ulpMPTCP: "mptcp", ulpTLS: "tls"}[u] }

// verdict has the fields of a policy.Verdict that the reaper keeps.
type verdict struct {
	deadline monotime.Time // by the policies alone, without the other end and the above rules
	start    monotime.Time // from which probeAfter counts; zero if no question is due
	reason   policy.Reason
	standing policy.Standing // spares the other end
	other    policy.Standing // of the other end, spares this one
	surplus  bool            // counted by an above rule
	allowed  bool            // selected by it
	recorded recorded
	excuses  excuse          // reasons of candidate.excused
	obstacle prober.Obstacle // why its peer was last not asked, in this idle time
}

// take stores a look at the socket, the verdict on it and its deadline by the policies alone. It reports whether the
// socket's idle time has restarted since the previous look.
func (c *candidate) take(h policy.History, s *inetdiag.Socket, v policy.Verdict, deadline monotime.Time) (renewed bool) {
	was := &c.verdict
	renewed = was.isOfAnotherTime(deadline, v.AskWhy.Start) || !c.history.Last.IsZero() && h.ID != c.history.ID
	if s.Inode != c.shown.inode || h.ID != c.history.ID { // connected again: its owner ran then, whatever was read before
		c.owners = nil
	}
	c.history = h
	if renewed {
		was.recorded, was.excuses, was.obstacle = 0, 0, prober.NoObstacle
	}
	was.deadline, was.start, was.reason, was.standing, was.other = deadline, v.AskWhy.Start, v.Reason, v.Standing, v.Other
	c.shown = shown{rqueue: s.RQueue, wqueue: s.WQueue, inode: s.Inode, uid: s.UID, hasInfo: s.HasInfo, ulp: ulpOf(s.ULP)}
	return renewed
}

// isOfAnotherTime reports whether the socket's idle time has restarted since the verdict. A socket with grace "never" has
// no deadline, and its peer is still asked: then start decides.
func (v *verdict) isOfAnotherTime(deadline, start monotime.Time) bool {
	if v.deadline.IsZero() && deadline.IsZero() {
		return !v.start.IsZero() && !start.IsZero() && start != v.start
	}
	return !v.deadline.IsZero() && deadline != v.deadline
}

// socket returns the last look as a socket: the fields that judging and listing need.
func (c *candidate) socket() inetdiag.Socket {
	return inetdiag.Socket{
		ID: c.history.ID, State: c.history.State, RQueue: c.shown.rqueue, WQueue: c.shown.wqueue,
		Inode: c.shown.inode, UID: c.shown.uid, HasInfo: c.shown.hasInfo,
		ULP: c.shown.ulp.String(),
	}
}

// isConfirmed reports whether this reaper has looked at it. A restored candidate has only its saved history.
func (c *candidate) isConfirmed() bool { return c.verdict.reason != policy.Unknown || c.shown.hasInfo }

// isOverdue reports whether the deadline of the last verdict has passed, and neither the other end nor an above rule
// spares the socket.
func (c *candidate) isOverdue(now monotime.Time) bool {
	byOther := c.verdict.reason == policy.PeerSpared && c.verdict.other != policy.StandingUnknown
	isSpared := byOther || c.verdict.surplus && !c.verdict.allowed
	return !isSpared && !c.verdict.deadline.IsZero() && !now.Before(c.verdict.deadline)
}

// judge returns the verdict of the namespace's policies and mode on one of its sockets.
func (ns *registered) judge(h *policy.History, s *inetdiag.Socket, f policy.Facts, now monotime.Time) policy.Verdict {
	return policy.Judge(ns.policies, h, s, f, now).Capped(ns.limit)
}

// facts returns the facts that no look shows. Expired owners still count, so that the deadline stays; but no destroy and
// no question follows before they are looked up again.
func (c *candidate) facts(now monotime.Time) policy.Facts {
	if c.owners == nil {
		return policy.Facts{}
	}
	return policy.Facts{Owners: c.owners.facts, OwnersKnown: now.Before(c.owners.until), OwnersComplete: c.owners.complete}
}
