// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// nextJob makes the examiner's next job of what is due, nil if nothing is. What waits for the budget is
// served first when there is some.
func (l *loop) nextJob(at monotime.Time, wall time.Time) *job {
	l.tracker.due(at)
	l.tracker.choose(at)
	if l.tracker.held.Len() > 0 {
		if grant := l.budget.share(wall, l.tracker.held.Len(), l.tracker.held.Groups(), jobSize); grant > 0 {
			ns, list := l.tracker.held.Pop(grant)
			return l.job(ns, list, grant, at)
		}
	}
	ns, list := l.tracker.fresh.Pop(jobSize)
	if ns == nil {
		return nil
	}
	grant := 0
	if l.tracker.held.Len() == 0 { // else it is their turn
		grant = l.budget.share(wall, len(list)+l.tracker.fresh.Len(), l.tracker.fresh.Groups()+1, jobSize)
	}
	return l.job(ns, list, grant, at)
}

// job has the examiner look at candidates of one network namespace.
func (l *loop) job(ns *registered, list []*candidate, grant int, at monotime.Time) *job {
	j := l.spare
	if j == nil {
		j = &job{
			histories: make([]policy.History, 0, jobSize), facts: make([]policy.Facts, 0, jobSize), others: make([]policy.Standing, 0, jobSize),
			allowed: make([]bool, 0, jobSize), results: make([]examined, 0, jobSize),
		}
	}
	*j = job{
		ns: ns, list: list, netns: ns.Netns, grant: grant,
		judge:     registered{policies: ns.policies, limit: ns.limit},
		histories: j.histories[:0], facts: j.facts[:0], others: j.others[:0], allowed: j.allowed[:0], results: j.results[:0],
	}
	for _, c := range list {
		l.tracker.handle(c, eventTaken, at)
		j.histories, j.facts = append(j.histories, c.history), append(j.facts, l.tracker.facts(c, at))
		j.others, j.allowed = append(j.others, l.tracker.otherForJob(c, at)), append(j.allowed, c.isAllowed())
	}
	return j
}

// examined handles the examiner's answers.
func (l *loop) examined(j *job, at monotime.Time) {
	if j.err != nil {
		j.ns.problem = j.err.Error()
	}
	l.noteEntry(j.ns, j.err)
	for i, c := range j.list {
		switch {
		case i < len(j.results):
			l.result(j, c, &j.results[i], at)
		case netns.IsGone(j.err):
			l.tracker.handle(c, eventGone, at)
		default:
			l.tracker.handle(c, eventRefused, at)
		}
	}
	l.budget.spend(l.clock.Wall(), j.tried)
	l.noticeLookAge(j)
	l.spare = j
}

// noticeLookAge counts the looks that were too old, and warns once where destroys had to go by older ones than usual.
func (l *loop) noticeLookAge(j *job) {
	l.counts.LooksTooOld += j.old
	if j.bound > minLookAge && !l.looksOld {
		l.looksOld = true
		l.warnings.warn(WarnLookAge, "the reaper is kept from the processor between a look at a socket and its destroy: raise its CPU limit, or remove it",
			"age", j.bound, "usual", minLookAge, "looks_too_old", l.counts.LooksTooOld)
	}
}

// result handles the examiner's answer about one socket.
func (l *loop) result(j *job, c *candidate, x *examined, at monotime.Time) {
	t := &l.tracker
	switch {
	case x.event == eventRefused:
		l.refused(c, x.err)
	case x.event == eventGone:
		if t.judge(c, x.at).Reason == policy.Destroyable {
			l.counts.Gone++
		}
	case c.step.phase == phaseExamined && !x.at.Before(c.history.Last): // else a finder has looked since
		was := c.verdict.standing
		t.take(c, x.history, &x.socket, x.verdict, x.deadline, at)
		t.count(c, &x.verdict)
		defer t.reconsiderOther(c, was, true, at)
	}
	if t.handle(c, x.event, at)&actRecord != 0 {
		l.record(j, c, x)
	}
	if c.step.phase == phaseTimed {
		t.reconsider(c, at)
	}
}

// record counts a destroy, or what would have been one, and writes it to the history.
func (l *loop) record(j *job, c *candidate, x *examined) {
	key := CountKey{State: x.socket.State, Namespace: j.ns.records[0].Pod.Namespace}
	switch {
	case x.event == eventDestroyed:
		l.log.Debug("destroy sent", "cookie", x.socket.ID.Cookie(), "looked", int64(x.at), "sent", int64(x.sent))
		l.account(j, c, x, api.Destroyed)
		j.ns.destroyed++
		l.histograms.lateness.Observe(latenessOf(c, &x.history, &x.verdict, x.doneAt()).late.Seconds())
		l.tally.destroyed[key]++
		l.counts.Destroyed[key.State]++
	case c.verdict.recorded&recordedDestroy == 0:
		c.verdict.recorded |= recordedDestroy
		l.account(j, c, x, api.WouldDestroy)
		j.ns.wouldDestroy++
		l.tally.wouldDestroy[key]++
		l.counts.WouldDestroy[key.State]++
	}
}

// doneAt returns when the destroy was sent, or would have been.
func (x *examined) doneAt() monotime.Time { return max(x.at, x.sent) }

// account writes a destroy, or what would have been one, to the history.
func (l *loop) account(j *job, c *candidate, x *examined, outcome string) {
	e := l.entry(j.ns, &x.history, &x.socket, x.at)
	late := latenessOf(c, &x.history, &x.verdict, x.doneAt())
	e.Outcome, e.Grace, e.Owners = outcome, x.verdict.EndWhy.Patience, c.holding(x.socket.Inode)
	e.Late, e.Excused, e.ExcusedBy = api.Seconds(late.late), api.Seconds(late.excused), late.by.names()
	l.history.add(e)
}

// entry returns what an entry of the history says of a socket itself.
func (l *loop) entry(ns *registered, h *policy.History, s *inetdiag.Socket, at monotime.Time) api.Entry {
	first := ns.records[0]
	return api.Entry{
		Time: l.clock.Wall(), Pod: first.Pod, Network: first.Network, ContainerID: first.ContainerID,
		Local: s.ID.Local(), Peer: s.ID.Peer(), State: s.State,
		Age: api.Seconds(at.Sub(h.Since)), Idle: api.Seconds(at.Sub(h.IdleStart(policy.ClockProgress))),
		RQueue: s.RQueue, WQueue: s.WQueue, UID: s.UID, Cookie: s.ID.Cookie(),
	}
}

// holding returns the owners of the candidate, if it still has the inode.
func (c *candidate) holding(inode uint32) []owners.Process {
	if c.owners == nil || c.shown.inode != inode {
		return nil
	}
	return c.owners.list
}

// allCounts returns the counts, which do not change any more.
func (l *loop) allCounts() api.Counts {
	counts := l.counts.Clone()
	counts.WouldAsk = l.tracker.wouldAsk
	return counts
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
