// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
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
	if grant := l.budget.share(wall, l.held.namespaces(), jobSize); l.held.count > 0 && grant > 0 {
		ns, list := l.held.pop(grant)
		return l.job(ns, list, grant)
	}
	ns, list := l.fresh.pop(jobSize)
	if ns == nil {
		return nil
	}
	grant := 0
	if l.held.count == 0 { // else it is their turn
		grant = l.budget.share(wall, l.fresh.namespaces()+1, jobSize)
	}
	return l.job(ns, list, grant)
}

func (l *loop) job(ns *registered, list []*candidate, grant int) *job {
	j := &job{
		ns: ns, list: list, target: ns.target(), policy: *ns.policy, mode: l.caps.effective(ns), grant: grant,
		histories: make([]policy.History, len(list)), results: make([]examined, 0, len(list)),
	}
	for i, c := range list {
		j.histories[i] = c.history
	}
	return j
}

// examined takes in what became of a job.
func (l *loop) examined(j *job, at monotime.Time) {
	destroyed := 0
	if j.err != nil {
		j.ns.problem = j.err.Error()
	}
	for i, c := range j.list {
		c.queued, c.waiting = false, false
		if i >= len(j.results) {
			l.unexamined(c, j.err, at)
			continue
		}
		if l.result(j, c, &j.results[i], at) {
			destroyed++
		}
	}
	l.budget.spend(time.Now(), destroyed)
}

// unexamined puts back a candidate that there was no answer for.
func (l *loop) unexamined(c *candidate, err error, at monotime.Time) {
	if c.ns.candidates[c.history.ID.Cookie()] != c {
		return
	}
	if gone(err) {
		l.tracker.drop(c)
		return
	}
	c.again = at.Add(retryAfter)
	l.tracker.schedule(c)
}

// result takes in what became of one socket, and reports whether it was destroyed.
func (l *loop) result(j *job, c *candidate, x *examined, at monotime.Time) bool {
	tracked := c.ns.candidates[c.history.ID.Cookie()] == c
	// A finder may have seen another connection under the same cookie since.
	same := x.socket.ID == c.history.ID || x.outcome == goneMeantime && !x.at.Before(c.history.Last)
	switch x.outcome {
	case destroyed:
		l.account(j, x, Destroyed)
		j.ns.destroyed++
		l.counts.Destroyed[x.socket.State]++
	case wouldDestroy:
		if tracked && !c.noted {
			l.account(j, x, WouldDestroy)
			j.ns.wouldDestroy++
			l.counts.WouldDestroy[x.socket.State]++
		}
	case goneMeantime:
		if c.reason == policy.Destroyable {
			l.counts.Gone++
		}
	case failed:
		l.refused(c, x.err)
	case spared, waiting:
	}
	if !tracked {
		return x.outcome == destroyed
	}
	switch {
	case same && (x.outcome == destroyed || x.outcome == goneMeantime || x.verdict.Reason == policy.NotHalfClosed):
		l.tracker.drop(c)
	case x.outcome == failed:
		c.again = at.Add(retryAfter)
		l.tracker.schedule(c)
	case !x.at.Before(c.history.Last) && x.outcome != goneMeantime:
		l.keep(c, x, at)
	default:
		l.tracker.schedule(c)
	}
	return x.outcome == destroyed
}

// keep goes on with a candidate that was not destroyed.
func (l *loop) keep(c *candidate, x *examined, at monotime.Time) {
	switch x.outcome {
	case wouldDestroy:
		c.look(x.history, &x.socket, x.verdict)
		c.noted = true
		l.tracker.schedule(c)
	case waiting:
		c.look(x.history, &x.socket, x.verdict)
		c.queued, c.waiting = true, true
		l.tracker.schedule(c)
		l.held.push(c)
	default:
		l.tracker.update(c, x.history, &x.socket, x.verdict, at)
	}
}

// account journals a destroy, or what would have been one.
func (l *loop) account(j *job, x *examined, outcome string) {
	first := j.ns.records[0]
	idle := x.at.Sub(max(x.history.Since, x.history.Progress))
	l.journal.add(Entry{
		Time: time.Now(), Outcome: outcome, Pod: first.Pod, Network: first.Network, ContainerID: first.ContainerID,
		Local: x.socket.ID.Local().String(), Peer: x.socket.ID.Peer().String(), State: x.socket.State,
		Age: Seconds(x.at.Sub(x.history.Since)), Idle: Seconds(idle), Grace: j.policy.Grace(x.socket.State),
		Late:   Seconds(x.at.Sub(x.verdict.Deadline)),
		RQueue: x.socket.RQueue, WQueue: x.socket.WQueue, UID: x.socket.UID, Cookie: x.socket.ID.Cookie(),
	})
}

// refused counts and logs a destroy or look that the kernel refused: the first of each kind in full.
func (l *loop) refused(c *candidate, err error) {
	name := "unknown"
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		name = unix.ErrnoName(errno)
	}
	l.counts.Errors[name]++
	say := l.log.Debug
	if l.counts.Errors[name] == 1 {
		say = l.log.Error
	}
	say("the kernel refused to look at or destroy a socket", "error", err,
		"local", c.history.ID.Local().String(), "peer", c.history.ID.Peer().String(), "errno", name)
}
