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
	waiting  monotime.Time // since when it waits for the budget
	from     monotime.Time // since when it could have been destroyed at the earliest, if not its namespace's
	retry    monotime.Time // the kernel has refused to destroy it: not to be tried again before
	deadline monotime.Time // of the last verdict
	noted    bool          // past its grace and dealt with as the mode says since it last made progress
	mptcp    bool
	reason   policy.Reason
	rqueue   uint32
	wqueue   uint32
	inode    uint32
	uid      uint32
	complete bool // the kernel sent its tcp_info
}

// look takes over what a look at the socket showed.
func (c *candidate) look(h policy.History, s *inetdiag.Socket, v policy.Verdict) {
	if !v.Destroy() || v.Deadline != c.deadline {
		c.noted, c.waiting = false, 0
	}
	c.history, c.reason, c.again, c.deadline = h, v.Reason, v.Again, v.Deadline
	c.rqueue, c.wqueue, c.inode, c.uid = s.RQueue, s.WQueue, s.Inode, s.UID
	c.mptcp, c.complete = s.ULP == "mptcp", s.HasInfo
}

// socket gives back as much of the last look as judging and showing it need.
func (c *candidate) socket() inetdiag.Socket {
	s := inetdiag.Socket{
		ID: c.history.ID, State: c.history.State, RQueue: c.rqueue, WQueue: c.wqueue,
		Inode: c.inode, UID: c.uid, HasInfo: c.complete,
	}
	if c.mptcp {
		s.ULP = "mptcp"
	}
	return s
}

// judge judges the socket as it was at its last look, at a later moment.
func (c *candidate) judge(now monotime.Time) policy.Verdict {
	s := c.socket()
	return policy.Judge(*c.ns.policy, c.history, &s, now)
}
