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
// their own. A candidate that waits for it in progressQ is in the agenda for the time at which something is due.

// awaitsProgress reports whether a look at a candidate, whose time has come, can only notice progress. It returns when
// something is due without any, zero for never.
func (t *tracker) awaitsProgress(c *candidate, now monotime.Time) (due monotime.Time, ok bool) {
	if c.step.phase != phaseTimed {
		return 0, false
	}
	switch c.verdict.reason {
	case policy.UnreadData, policy.UnackedData:
	case policy.PeerSpared:
		return 0, c.verdict.other != policy.StandingUnknown // otherwise a look at the other end is under way
	default:
		return 0, false
	}
	v := t.judge(c, now)
	return v.Due, v.Reason == c.verdict.reason && !v.NeedsOwners
}

// queueForProgress adds a candidate to progressQ, and to the agenda for the time at which something is due.
func (t *tracker) queueForProgress(c *candidate, due monotime.Time) {
	c.step.dueAt = due
	t.schedule(c)
	if _, ok := t.inProgressQ[c]; !ok {
		t.inProgressQ[c] = struct{}{}
		t.progressQ.Push(c.ns, c)
	}
}

// takeForProgress queues candidates of one network namespace from progressQ for the examiner, and returns their number.
func (t *tracker) takeForProgress(limit int, now monotime.Time) (n int) {
	for n == 0 && t.progressQ.Len() > 0 {
		_, list := t.progressQ.Pop(limit)
		for _, c := range list {
			delete(t.inProgressQ, c)
			switch _, ok := t.awaitsProgress(c, now); {
			case !ok: // its phase or its verdict has changed since
			case c.verdict.reason == policy.PeerSpared:
				n += t.queueSparing(c, now)
			default:
				t.handle(c, eventTimeCame, now)
				n++
			}
		}
	}
	return n
}

// queueSparing queues the other end of a candidate that it spares for a look, and returns the number of sockets to look at. A
// question to that end's peer goes on: its answer is as good as a look.
func (t *tracker) queueSparing(c *candidate, now monotime.Time) (n int) {
	t.reconsider(c, now)
	if _, ok := t.awaitsProgress(c, now); !ok {
		return 0
	}
	end := c.end()
	for o := range t.ends.opposite(&end) {
		if o != c && o.step.phase != phaseAsking {
			t.queueEnd(o, now)
			n++
		}
	}
	return n
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
