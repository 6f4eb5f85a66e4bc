// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// A socket past its grace is spared while it has unread or unacknowledged bytes, or while the other end of its connection has a
// reason to keep both. It, or that other end, is looked up at intervals that grow with its idle time. These looks only notice
// progress, or that the other end is gone: nothing is due. A pod can have very many such sockets, so they have a CPU budget of
// their own. A candidate that waits for it in progressQ is in the agenda for the time at which something is due, if any is.

// progressLook is why a candidate is in progressQ.
type progressLook uint8

const (
	lookForProgress progressLook = iota // of its own
	lookForOtherEnd                     // which it spares: it may be gone
)

// awaitsProgress reports whether a look at a candidate, whose time has come, can only notice progress. It returns when
// something is due without any, zero for never.
func (t *tracker) awaitsProgress(c *candidate, now monotime.Time) (due monotime.Time, ok bool) {
	if c.step.phase != phaseTimed || c.verdict.reason != policy.UnreadData && c.verdict.reason != policy.UnackedData {
		return 0, false
	}
	v := t.judge(c, now)
	return v.Due, v.Reason == c.verdict.reason && !v.NeedsOwners
}

// queueForProgress adds a candidate to progressQ, and to the agenda for the time at which something is due.
func (t *tracker) queueForProgress(c *candidate, due monotime.Time) {
	c.step.dueAt = due
	t.schedule(c)
	t.pushForProgress(c, lookForProgress)
}

// isSparedByOtherEnd reports whether a candidate is spared by the other end of its connection, and waits for no look at it.
func (c *candidate) isSparedByOtherEnd() bool {
	return c.step.phase == phaseTimed && c.verdict.reason == policy.PeerSpared && c.verdict.other != policy.StandingUnknown
}

// queueSparing adds the other end that spares a candidate to progressQ, and the candidate to the agenda for the next time. If there is
// no such end any more, the candidate itself is looked at.
func (t *tracker) queueSparing(c *candidate, now monotime.Time) {
	end, has := c.end(), false
	for o := range t.ends.opposite(&end) {
		if o != c {
			t.pushForProgress(o, lookForOtherEnd)
			has = true
		}
	}
	if !has {
		t.handle(c, eventTimeCame, now)
		return
	}
	c.step.dueAt = c.history.NextRareLook(now)
	t.schedule(c)
}

func (t *tracker) pushForProgress(c *candidate, why progressLook) {
	was, isQueued := t.inProgressQ[c]
	t.inProgressQ[c] = max(was, why)
	if !isQueued {
		t.progressQ.Push(c.ns, c)
	}
}

// takeForProgress queues candidates of one network namespace from progressQ for the examiner, and returns their number. It visits at
// most limit.
func (t *tracker) takeForProgress(limit int, now monotime.Time) (n int) {
	for visited := 0; n == 0 && visited < limit && t.progressQ.Len() > 0; {
		_, list := t.progressQ.Pop(limit - visited)
		visited += len(list)
		for _, c := range list {
			why := t.inProgressQ[c]
			delete(t.inProgressQ, c)
			if t.needsProgressLook(c, why, now) { // otherwise its phase or its verdict has changed since
				t.handle(c, eventTimeCame, now)
				n++
			}
		}
	}
	return n
}

// needsProgressLook reports whether a candidate from progressQ still needs the look. A question to the peer of an end that spares
// the other goes on: its answer is as good as a look.
func (t *tracker) needsProgressLook(c *candidate, why progressLook, now monotime.Time) bool {
	if why == lookForOtherEnd {
		return c.step.phase.isJudged() && c.step.phase != phaseAsking || c.step.phase == phaseUnasked
	}
	_, ok := t.awaitsProgress(c, now)
	return ok
}

// progressBudget bounds the CPU time of jobs whose looks only notice progress. nil is no bound.
type progressBudget struct{ pacer *pacing.Pacer }

func newProgressBudget(share float64, now monotime.Time) *progressBudget {
	if share == 0 {
		return nil
	}
	return &progressBudget{pacing.New(share, now)}
}

// wait returns the time until such a job is allowed.
func (b *progressBudget) wait(now monotime.Time) time.Duration {
	if b == nil {
		return 0
	}
	return b.pacer.Wait(now)
}

// measure runs a part of such a job, and adds its CPU time to the job's.
func (b *progressBudget) measure(j *job, part func()) {
	if b == nil || !j.progress {
		part()
		return
	}
	j.cpu += pacing.MeasureCPU(part)
}

// spend subtracts the CPU time of a finished job.
func (b *progressBudget) spend(j *job, now monotime.Time) {
	if b != nil && j.progress {
		b.pacer.Spend(now, j.cpu)
	}
}
