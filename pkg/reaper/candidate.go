// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// candidate is a half-closed socket being timed. There may be 500,000 of them.
type candidate struct {
	ns      *registered
	history policy.History // all looks together
	shown   shown          // by the last look
	index   int32          // in the agenda, -1 if it is not there
	verdict verdict        // on the last look
	step    step           // what it waits for
	owners  *holders       // as they were found for shown.inode, nil if they were not looked up
	excused monotime.Time  // a destroy is late from then on at the earliest
	nextEnd *candidate     // in the index of ends
}

// shown is what a look showed beside the history: as much as judging the socket again and listing it need.
type shown struct {
	rqueue, wqueue, inode, uid uint32

	hasInfo bool // the kernel sent the socket's tcp_info
	ulp     ulp
}

// ulp is the upper layer protocol of a socket, in one byte: what of it the judgement asks for.
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

// verdict is what is kept of a policy.Verdict.
type verdict struct {
	deadline monotime.Time // of the policies alone: the other end of the connection may spare it
	reason   policy.Reason
	standing policy.Standing // what spares the other end
	other    policy.Standing // what of the other end spares this one
	surplus  bool            // due, and a rule with a number matches
	allowed  bool            // such a rule lets it go
	recorded recorded
	excuses  excuse          // reasons of candidate.excused
	obstacle prober.Obstacle // why its peer was not asked last, in this idle time
}

// recorded is what has been recorded in this idle time of what the mode forbids.
type recorded uint8

const (
	recordedDestroy recorded = 1 << iota
	recordedQuestion
)

// take takes over a look at the socket, the verdict on it and its deadline by the policies alone. It reports whether the
// socket's idle time has begun again since the look before.
func (c *candidate) take(h policy.History, s *inetdiag.Socket, v policy.Verdict, deadline monotime.Time) (renewed bool) {
	was := &c.verdict
	renewed = !was.deadline.IsZero() && (deadline != was.deadline || h.ID != c.history.ID)
	if s.Inode != c.shown.inode {
		c.owners = nil
	}
	c.history = h
	if renewed {
		was.recorded, was.excuses, was.obstacle = 0, 0, prober.NoObstacle
	}
	was.deadline, was.reason, was.standing, was.other = deadline, v.Reason, v.Standing, v.Other
	c.shown = shown{rqueue: s.RQueue, wqueue: s.WQueue, inode: s.Inode, uid: s.UID, hasInfo: s.HasInfo, ulp: ulpOf(s.ULP)}
	return renewed
}

// socket returns as much of the last look as judging and listing the socket need.
func (c *candidate) socket() inetdiag.Socket {
	return inetdiag.Socket{
		ID: c.history.ID, State: c.history.State, RQueue: c.shown.rqueue, WQueue: c.shown.wqueue,
		Inode: c.shown.inode, UID: c.shown.uid, HasInfo: c.shown.hasInfo,
		ULP: c.shown.ulp.String(),
	}
}

// isConfirmed reports whether this reaper has looked at it: it may be known from the saved candidates alone.
func (c *candidate) isConfirmed() bool { return c.verdict.reason != policy.Unknown || c.shown.hasInfo }

// isOverdue reports whether the deadline of the last verdict has passed, and nothing else spares it.
func (c *candidate) isOverdue(now monotime.Time) bool {
	byOther := c.verdict.reason == policy.PeerSpared && c.verdict.other != policy.StandingUnknown
	isSpared := byOther || c.verdict.surplus && !c.verdict.allowed
	return !isSpared && !c.verdict.deadline.IsZero() && !now.Before(c.verdict.deadline)
}

// judge judges a socket of the network namespace.
func (ns *registered) judge(h *policy.History, s *inetdiag.Socket, f policy.Facts, now monotime.Time) policy.Verdict {
	return policy.Judge(ns.policies, h, s, f, now).Capped(ns.limit)
}

// facts returns what is known of the candidate beside its looks. Owners that were found some time ago still count, so
// that its deadline stays; but nothing is done before they have been looked up again.
func (c *candidate) facts(now monotime.Time) policy.Facts {
	if c.owners == nil {
		return policy.Facts{}
	}
	return policy.Facts{Owners: c.owners.facts, OwnersKnown: now.Before(c.owners.until)}
}
