// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// retryAfter is how long a socket is left alone after the kernel refused to destroy it.
const retryAfter = 10 * time.Second

// nextJob makes the examiner's next job of what is due, nil if nothing is. What waits for the budget is
// served first when there is some.
func (l *loop) nextJob(at monotime.Time, wall time.Time) *job {
	for _, c := range l.tracker.due(at) {
		l.enqueue(c)
	}
	if l.held.count > 0 {
		if grant := l.budget.share(wall, l.held.count, l.held.namespaces(), jobSize); grant > 0 {
			ns, list := l.held.pop(grant)
			return l.job(ns, list, grant)
		}
	}
	ns, list := l.fresh.pop(jobSize)
	if ns == nil {
		return nil
	}
	grant := 0
	if l.held.count == 0 { // else it is their turn
		grant = l.budget.share(wall, len(list)+l.fresh.count, l.fresh.namespaces()+1, jobSize)
	}
	return l.job(ns, list, grant)
}

func (l *loop) job(ns *registered, list []*candidate, grant int) *job {
	j := l.spare
	if j == nil {
		j = &job{histories: make([]policy.History, 0, jobSize), results: make([]examined, 0, jobSize)}
	}
	*j = job{
		ns: ns, list: list, netns: ns.Netns, policy: *ns.policy, mode: l.caps.effective(ns), grant: grant,
		histories: j.histories[:0], results: j.results[:0],
	}
	for _, c := range list {
		j.histories = append(j.histories, c.history)
	}
	return j
}

// examined takes in what became of a job.
func (l *loop) examined(j *job, at monotime.Time) {
	if j.err != nil {
		j.ns.problem = j.err.Error()
	}
	for i, c := range j.list {
		c.queued = false
		if i < len(j.results) {
			l.result(j, c, &j.results[i], at)
		} else {
			l.unexamined(c, j.err, at)
		}
	}
	l.budget.spend(l.clock.Wall(), j.tried)
	l.spare = j
}

// unexamined puts back a candidate that there was no answer for.
func (l *loop) unexamined(c *candidate, err error, at monotime.Time) {
	if c.ns.candidates[c.history.ID.Cookie()] != c {
		return
	}
	if netns.IsGone(err) {
		l.tracker.drop(c)
		return
	}
	l.tracker.postpone(c, at)
}

// result takes in what became of one socket.
func (l *loop) result(j *job, c *candidate, x *examined, at monotime.Time) {
	tracked := c.ns.candidates[c.history.ID.Cookie()] == c
	// A finder may have seen another connection under the same cookie since.
	same := x.socket.ID == c.history.ID || x.outcome == goneMeantime && !x.at.Before(c.history.Last)
	switch x.outcome {
	case destroyed:
		l.account(j, c, x, api.Destroyed)
		j.ns.destroyed++
		l.tally.lateness.observe(late(c, x))
		l.tally.destroyed[key(j, x)]++
		l.counts.Destroyed[x.socket.State]++
	case wouldDestroy:
		if tracked && !c.noted && j.mode == policy.Observe {
			l.account(j, c, x, api.WouldDestroy)
			j.ns.wouldDestroy++
			l.tally.wouldDestroy[key(j, x)]++
			l.counts.WouldDestroy[x.socket.State]++
		}
	case goneMeantime:
		if j.mode == policy.Destroy && (x.verdict.Destroy() || c.judge(x.at).Destroy()) {
			l.counts.Gone++
		}
	case failed:
		l.refused(c, x.err)
	case spared, waiting:
	}
	if !tracked {
		return
	}
	switch {
	case same && (x.outcome == destroyed || x.outcome == goneMeantime || x.verdict.Reason == policy.NotHalfClosed):
		l.tracker.drop(c)
	case x.outcome == failed:
		l.tracker.postpone(c, at)
	case !x.at.Before(c.history.Last) && x.outcome != goneMeantime:
		l.keep(j, c, x, at)
	default: // a finder has looked since
		if x.outcome == wouldDestroy && same && x.history.Since == c.history.Since && x.history.Progress == c.history.Progress {
			l.note(j, c, at)
		}
		l.tracker.schedule(c)
	}
}

// key is what a socket's destroy is counted by.
func key(j *job, x *examined) CountKey {
	return CountKey{State: x.socket.State, Namespace: j.ns.records[0].Pod.Namespace}
}

// note marks a candidate as dealt with, unless it was in another mode than is in effect by now.
func (l *loop) note(j *job, c *candidate, at monotime.Time) {
	c.noted, c.again = true, 0
	if l.caps.effective(c.ns) != j.mode {
		c.noted, c.again = false, at
	}
}

// keep goes on with a candidate that was not destroyed.
func (l *loop) keep(j *job, c *candidate, x *examined, at monotime.Time) {
	switch x.outcome {
	case wouldDestroy:
		c.look(x.history, &x.socket, x.verdict)
		l.note(j, c, at)
		l.tracker.schedule(c)
	case waiting:
		c.look(x.history, &x.socket, x.verdict)
		if c.waiting.IsZero() {
			c.waiting = x.at
		}
		c.queued = true
		l.tracker.schedule(c)
		l.held.push(c)
	default:
		l.tracker.update(c, x.history, &x.socket, x.verdict, at)
	}
}

// late is how long after it was due a socket was destroyed. It was due when its grace ended, but not before
// anybody could know or was allowed to; the wait for the budget is left out.
func late(c *candidate, x *examined) time.Duration {
	until := x.at
	if !c.waiting.IsZero() {
		until = c.waiting
	}
	return max(0, until.Sub(max(x.verdict.Deadline, c.ns.registeredAt, c.from)))
}

// account journals a destroy, or what would have been one.
func (l *loop) account(j *job, c *candidate, x *examined, outcome string) {
	first := j.ns.records[0]
	var held []owners.Process
	if c.owners != nil && c.inode == x.socket.Inode {
		held = c.owners.list
	}
	idle := x.at.Sub(max(x.history.Since, x.history.Progress))
	l.journal.add(api.Entry{
		Time: l.clock.Wall(), Outcome: outcome, Pod: first.Pod, Network: first.Network, ContainerID: first.ContainerID,
		Local: x.socket.ID.Local(), Peer: x.socket.ID.Peer(), State: x.socket.State,
		Age: api.Seconds(x.at.Sub(x.history.Since)), Idle: api.Seconds(idle), Grace: j.policy.Grace(x.socket.State),
		Late:   api.Seconds(late(c, x)),
		RQueue: x.socket.RQueue, WQueue: x.socket.WQueue, UID: x.socket.UID, Cookie: x.socket.ID.Cookie(),
		Owners: held,
	})
	if len(held) == 0 && l.attribution.source != nil {
		l.journal.unowned[l.journal.total] = unowned{x.socket.Inode, j.ns.Identity.Inode}
	}
}

// refused counts and logs a destroy or look that the kernel refused: the first of each kind in full.
func (l *loop) refused(c *candidate, err error) {
	name := "unknown"
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		name = errnoName(errno)
	}
	l.counts.Errors[name]++
	say := l.log.Debug
	if l.counts.Errors[name] == 1 {
		say = l.log.Error
	}
	say("the kernel refused to look at or destroy a socket", "error", err,
		"local", c.history.ID.Local().String(), "peer", c.history.ID.Peer().String(), "errno", name)
}
