// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// candidate is a half-closed socket being timed: its history, the last verdict on it and, for people to
// read, what its last look showed.
type candidate struct {
	history policy.History
	ns      *registered

	again    monotime.Time // when to look at it again; zero: whenever a sweep shows it
	index    int32         // in the agenda, -1 if it is not there
	queued   bool          // waits for the examiner
	noted    bool          // past its grace and dealt with as the mode says since it last made progress
	told     told
	reason   policy.Reason
	waiting  monotime.Time // since when it waits for the budget
	from     monotime.Time // since when it could have been destroyed at the earliest, if not its namespace's
	retry    monotime.Time // the kernel has refused to destroy it: not to be tried again before
	deadline monotime.Time // of the last verdict
	owners   *holders      // as they were found for the inode below, nil if nobody has looked
	rqueue   uint32
	wqueue   uint32
	inode    uint32
	uid      uint32
}

// told is what else the kernel told of a socket, in one byte: there may be 50,000 candidates, and with 208 bytes
// each just fits what memory comes in.
type told uint8

const (
	toldInfo  told = 1 << iota // its tcp_info
	toldMPTCP                  // that it is a subflow
)

// complete reports whether the kernel sent the socket's tcp_info.
func (c *candidate) complete() bool { return c.told&toldInfo != 0 }

// look takes over what a look at the socket showed.
func (c *candidate) look(h policy.History, s *inetdiag.Socket, v policy.Verdict) {
	if !v.Destroy() || v.Deadline != c.deadline {
		c.noted, c.waiting = false, 0
	}
	if s.Inode != c.inode {
		c.owners = nil
	}
	c.history, c.reason, c.again, c.deadline = h, v.Reason, v.Again, v.Deadline
	c.rqueue, c.wqueue, c.inode, c.uid = s.RQueue, s.WQueue, s.Inode, s.UID
	c.told = 0
	if s.HasInfo {
		c.told |= toldInfo
	}
	if s.ULP == "mptcp" {
		c.told |= toldMPTCP
	}
}

// socket gives back as much of the last look as judging and showing it need.
func (c *candidate) socket() inetdiag.Socket {
	s := inetdiag.Socket{
		ID: c.history.ID, State: c.history.State, RQueue: c.rqueue, WQueue: c.wqueue,
		Inode: c.inode, UID: c.uid, HasInfo: c.complete(),
	}
	if c.told&toldMPTCP != 0 {
		s.ULP = "mptcp"
	}
	return s
}

// overdue reports whether the deadline of the last verdict has passed.
func (c *candidate) overdue(now monotime.Time) bool {
	return !c.deadline.IsZero() && !now.Before(c.deadline)
}

// judge judges the socket as it was at its last look, at a later moment.
func (c *candidate) judge(now monotime.Time) policy.Verdict {
	s := c.socket()
	return policy.Judge(*c.ns.policy, c.history, &s, now)
}
