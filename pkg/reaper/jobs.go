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

// nextJob returns the examiner's next job, nil if no candidate is due. Candidates that wait for the budget come first.
func (l *loop) nextJob(at monotime.Time, wall time.Time) *job {
	l.tracker.handleDue(at)
	l.tracker.selectSurplus(at)
	if l.tracker.budgetQ.Len() > 0 {
		if grant := l.budget.share(wall, l.tracker.budgetQ.Len(), l.tracker.budgetQ.Groups(), maxJobSockets); grant > 0 {
			ns, list := l.tracker.budgetQ.Pop(grant)
			return l.job(ns, list, grant, at)
		}
	}
	ns, list := l.tracker.examineQ.Pop(maxJobSockets)
	if ns == nil {
		return l.nextProgressJob(at)
	}
	grant := 0
	if l.tracker.budgetQ.Len() == 0 { // otherwise the budget is theirs
		grant = l.budget.share(wall, len(list)+l.tracker.examineQ.Len(), l.tracker.examineQ.Groups()+1, maxJobSockets)
	}
	return l.job(ns, list, grant, at)
}

// nextProgressJob returns a job whose looks only notice progress, nil if none is due or their budget is used up.
func (l *loop) nextProgressJob(at monotime.Time) *job {
	if l.tracker.progressQ.Len() == 0 || l.progress.wait(at) > 0 {
		return nil
	}
	began := &job{progress: true}
	l.progress.measure(began, func() { l.tracker.takeForProgress(maxJobSockets, at) })
	ns, list := l.tracker.examineQ.Pop(maxJobSockets)
	if ns == nil {
		l.progress.spend(began, at)
		return nil
	}
	j := l.job(ns, list, 0, at)
	j.progress, j.cpu = true, began.cpu
	return j
}

// job returns a job with candidates of one network namespace.
func (l *loop) job(ns *registered, list []*candidate, grant int, at monotime.Time) *job {
	j := l.spareJob
	if j == nil {
		j = &job{
			histories: make([]policy.History, 0, maxJobSockets), facts: make([]policy.Facts, 0, maxJobSockets), others: make([]policy.Standing, 0, maxJobSockets),
			allowed: make([]bool, 0, maxJobSockets), held: make([]holders, 0, maxJobSockets), results: make([]examined, 0, maxJobSockets),
		}
	}
	*j = job{
		ns: ns, list: list, netns: ns.Netns, grant: grant,
		judge:     registered{policies: ns.policies, limit: ns.limit},
		histories: j.histories[:0], facts: j.facts[:0], others: j.others[:0], allowed: j.allowed[:0],
		held: j.held[:0], results: j.results[:0],
	}
	for _, c := range list {
		l.tracker.handle(c, eventTaken, at)
		j.histories, j.facts = append(j.histories, c.history), append(j.facts, l.tracker.facts(c, at))
		j.others, j.allowed = append(j.others, l.tracker.otherForJob(c, at)), append(j.allowed, c.isAllowed())
		j.held = append(j.held, l.tracker.holders(c, at))
	}
	return j
}

// examined handles a finished job.
func (l *loop) examined(j *job, at monotime.Time) {
	j.ns.jobProblem = ""
	if j.err != nil {
		j.ns.jobProblem = j.err.Error()
		l.jobFailed(j)
	}
	l.recordEntry(j.ns, j.err)
	for i, c := range j.list {
		if i < len(j.results) {
			if c.history.Frozen != j.histories[i].Frozen { // by a reading of its owners that the job does not know
				l.tracker.handle(c, eventRenewed, at)
			}
			l.tracker.takeFresh(c, &j.held[i], at)
			j.results[i].addFrozen(&j.histories[i], &c.history)
		}
		switch {
		case i < len(j.results):
			l.result(j, c, &j.results[i], at)
		case netns.IsGone(j.err):
			l.tracker.netnsGone = true
			l.tracker.handle(c, eventGone, at)
			l.tracker.netnsGone = false
		default:
			l.tracker.handle(c, eventRefused, at)
		}
	}
	l.budget.spend(l.clock.Wall(), j.tried)
	l.noticeLookAge(j)
	l.spareJob = j
}

// addFrozen adds the frozen time that was recorded in a history since the job began. What was before progress that the look shows
// only counts for the clock "state".
func (x *examined) addFrozen(began, now *policy.History) {
	switch idle := now.FrozenIdle - began.FrozenIdle; {
	case x.history.ID != began.ID: // another connection, or none
	case x.history.Start != began.Start || x.history.Progress != began.Progress:
		x.history.AddFrozenBefore(now.Frozen - began.Frozen)
	default:
		x.history.AddFrozen(idle)
		x.history.AddFrozenBefore(now.Frozen - began.Frozen - idle)
	}
}

// noticeLookAge counts the looks that were too old, and warns once if the bound on their age had to grow.
func (l *loop) noticeLookAge(j *job) {
	l.counts.LooksTooOld += j.old
	if j.bound > minLookAge && !l.warnedLookAge {
		l.warnedLookAge = true
		l.warnings.warn(WarnStaleLooks, "the reaper waits too long for a CPU between a look at a socket and its destroy: raise its CPU limit, or remove it",
			"age", j.bound, "usual", minLookAge, "looks_too_old", l.counts.LooksTooOld)
	}
}

// result handles the examiner's result for one socket.
func (l *loop) result(j *job, c *candidate, x *examined, at monotime.Time) {
	t := &l.tracker
	switch {
	case x.event == eventRefused:
		name := l.refused(c, x.err)
		if !x.sent.IsZero() && t.record(c, recordedFailure, &x.history) {
			l.recordFailure(j, c, x, name)
		}
	case x.event == eventGone:
		if t.judge(c, x.at).Reason == policy.Destroyable {
			l.counts.Gone++
		}
	case c.step.phase == phaseExamined && !x.at.Before(c.history.Last): // otherwise the finder's look is newer
		was := c.verdict.standing
		t.take(c, x.history, &x.socket, x.verdict, x.deadline, at)
		t.countSurplus(c, &x.verdict)
		defer t.reconsiderOther(c, was, true, at)
	}
	if t.handle(c, x.event, at)&actRecord != 0 {
		l.record(j, c, x)
	}
	if c.step.phase == phaseTimed {
		t.reconsider(c, at)
	}
}

// record counts a destroy or a would-destroy, and adds it to the history. It is the only place that counts them. The three
// counters have different lifetimes, so none is a sum of another: the namespace's is lost with its records, tally forgets
// former Kubernetes namespaces, and counts lasts as long as the reaper.
func (l *loop) record(j *job, c *candidate, x *examined) {
	key := CountKey{State: x.socket.State, Namespace: j.ns.records[0].Pod.Namespace}
	switch {
	case x.event == eventDestroyed:
		l.log.Debug("destroy sent", "cookie", x.socket.ID.Cookie(), "looked", int64(x.at), "sent", int64(x.sent))
		l.account(j, c, x, api.Destroyed)
		l.watchDescriptors(c, x.socket.Inode, x.sent)
		j.ns.destroyed++
		l.histograms.lateness.Observe(latenessOf(c, &x.history, &x.verdict, x.doneAt()).late.Seconds())
		l.tally.destroyed[key]++
		l.counts.Destroyed[key.State]++
	case l.tracker.record(c, recordedDestroy, &x.history):
		l.account(j, c, x, api.WouldDestroy)
		j.ns.wouldDestroy++
		l.tally.wouldDestroy[key]++
		l.counts.WouldDestroy[key.State]++
	}
}

// doneAt returns when the destroy was sent, or decided if it is forbidden.
func (x *examined) doneAt() monotime.Time { return max(x.at, x.sent) }

// account adds a destroy or a would-destroy to the history.
func (l *loop) account(j *job, c *candidate, x *examined, outcome string) {
	e := l.entry(j.ns, &x.history, &x.socket, x.at)
	late := latenessOf(c, &x.history, &x.verdict, x.doneAt())
	e.Outcome, e.Grace, e.Owners = outcome, x.verdict.EndWhy.Patience, c.ownersOf(x.socket.Inode)
	e.Late, e.Excused, e.ExcusedBy = api.Seconds(late.late), api.Seconds(late.excused), late.by.names()
	l.history.add(e)
}

// recordFailure adds a destroy that the kernel refused to the history.
func (l *loop) recordFailure(j *job, c *candidate, x *examined, errno string) {
	e := l.entry(j.ns, &x.history, &x.socket, x.at)
	e.Outcome, e.Errno, e.Grace, e.Owners = api.Failed, errno, x.verdict.EndWhy.Patience, c.ownersOf(x.socket.Inode)
	l.history.add(e)
}

// entry returns a history entry with the fields of the socket and its attachment.
func (l *loop) entry(ns *registered, h *policy.History, s *inetdiag.Socket, at monotime.Time) api.Entry {
	first := ns.records[0]
	return api.Entry{
		Time: l.clock.Wall(), Pod: first.Pod, Network: first.Network, ContainerID: first.ContainerID,
		Local: s.ID.Local(), Peer: s.ID.Peer(), State: s.State,
		Age: api.Seconds(at.Sub(h.Since)), Idle: api.Seconds(at.Sub(h.IdleStart(policy.ClockProgress))),
		RQueue: s.RQueue, WQueue: s.WQueue, UID: s.UID, Cookie: s.ID.Cookie(),
	}
}

// ownersOf returns the owners of the candidate, nil if they are unknown or of another inode.
func (c *candidate) ownersOf(inode uint32) []owners.Process {
	if c.owners == nil || c.shown.inode != inode {
		return nil
	}
	return c.owners.list
}

// allCounts returns a copy of the counts.
func (l *loop) allCounts() api.Counts {
	counts := l.counts.Clone()
	counts.WouldAsk = l.tracker.wouldAsk
	return counts
}

// jobFailed counts a job whose sockets could not all be looked up and destroyed, unless its network namespace was deleted. It
// logs the first of each errno as an error.
func (l *loop) jobFailed(j *job) {
	if netns.IsGone(j.err) {
		return
	}
	name := errnoOf(j.err)
	l.counts.Errors[name]++
	log := l.log.Debug
	if l.counts.Errors[name] == 1 {
		log = l.log.Error
	}
	log("cannot look up or destroy sockets of a network namespace", "error", j.err, "netns", j.ns.records[0].Netns.Path, "errno", name)
}

// errnoOf returns the name of an error's errno, "unknown" without one.
func errnoOf(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errnoName(errno)
	}
	return "unknown"
}

// refused counts a refused look-up or destroy, and returns its errno. It logs the first of each errno as an error, later ones
// at level debug.
func (l *loop) refused(c *candidate, err error) (name string) {
	name = errnoOf(err)
	l.counts.Errors[name]++
	log := l.log.Debug
	if l.counts.Errors[name] == 1 {
		log = l.log.Error
	}
	log("the kernel refused to look up or destroy a socket", "error", err,
		"local", c.history.ID.Local().String(), "peer", c.history.ID.Peer().String(), "errno", name)
	return name
}
