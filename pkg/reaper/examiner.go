// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// destroyBatch is how many sockets are looked at before the destroys among them are sent. A smaller batch leaves a socket
// less time to change in between; a larger one needs fewer system calls.
const destroyBatch = 8

const maxJobSockets = 256

// job is the examiner's work: up to maxJobSockets sockets of one network namespace to look at, judge and destroy.
type job struct {
	ns    *registered // for the loop alone
	list  []*candidate
	netns finder.Netns
	judge registered // has only the policies and the limit
	grant int        // destroys that the budget allows
	tried int        // destroys that were sent

	progress bool          // its looks only notice progress
	cpu      time.Duration // its CPU time so far, if it is such a job

	histories []policy.History
	facts     []policy.Facts
	others    []policy.Standing // of the other ends
	allowed   []bool            // by above rules
	held      []holders
	results   []examined
	err       error         // why the remaining sockets have no result
	old       uint64        // looks that were too old to destroy by
	bound     time.Duration // the largest age of a look that was allowed
}

// examined is the result for one socket.
type examined struct {
	event    event
	at       monotime.Time // just before the look
	sent     monotime.Time // when the destroy was sent; zero if none was
	history  policy.History
	socket   inetdiag.Socket
	verdict  policy.Verdict
	deadline monotime.Time // by the policies alone
	err      error
}

// conn looks up and destroys single sockets of one network namespace; see inetdiag.Conn.
type conn interface {
	LookupAll(ids []inetdiag.ID, yield func(i int, s *inetdiag.Socket, err error)) error
	DestroyAll(ids []inetdiag.ID, ready func(i int) bool, yield func(i int, err error)) error
	Close() error
}

// opener opens a conn in a network namespace.
type opener func(finder.Netns) (conn, error)

// examiner looks up single sockets, judges each look, and destroys at once.
type examiner struct {
	open    opener
	clock   monotime.Clock
	age     lookAge
	owners  freshOwners
	ids     [destroyBatch]inetdiag.ID
	index   [destroyBatch]int // in the job, of each of ids
	retries []int             // indexes in the job of the sockets whose look was too old
}

// examine works through a job. After an error the remaining sockets have no result.
func (e *examiner) examine(j *job) {
	conn, err := e.open(j.netns)
	if err != nil {
		j.err = err
		return
	}
	defer conn.Close()
	e.retries = e.retries[:0]
	for next := 0; j.err == nil; {
		n := 0
		for ; n < e.age.batch() && (len(e.retries) > 0 || next < len(j.histories)); n++ {
			if last := len(e.retries) - 1; last >= 0 {
				e.index[n], e.retries = e.retries[last], e.retries[:last]
			} else {
				e.index[n] = next
				next++
			}
		}
		if n == 0 {
			return
		}
		e.owners.refresh(j, e.index[:n], e.clock) // before the looks, whose age is bounded
		if j.err = e.lookUp(conn, j, n); j.err == nil {
			j.err = e.destroy(conn, j, n)
		}
	}
	for i := range j.results {
		if x := &j.results[i]; x.event == eventDestroyed && x.sent.IsZero() { // it waited for another look
			x.event, x.err = eventRefused, j.err
		}
	}
}

// lookUp looks up the first n sockets of e.index, and judges each.
func (e *examiner) lookUp(conn conn, j *job, n int) error {
	ids := e.ids[:n]
	for i := range ids {
		ids[i] = j.histories[e.index[i]].ID
	}
	// The clock is read once for the batch, since that is a system call. The error is the duration of the look-up, which
	// is less than the resolution of the kernel's timestamps.
	at := e.clock.Now()
	return conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
		i = e.index[i]
		if i == len(j.results) { // otherwise this is a retry
			j.results = append(j.results, examined{})
		}
		x := &j.results[i]
		*x = examined{at: at}
		switch {
		case errors.Is(err, inetdiag.ErrGone):
			x.event = eventGone
		case err != nil:
			x.event, x.err = eventRefused, err
		default:
			look := policy.Look{At: x.at, Socket: s}
			x.history = policy.Follow(&j.histories[i], look)
			own := j.judge.judge(&x.history, s, j.facts[i], x.at)
			v := sparedByOther(own, j.others[i], &x.history, x.at)
			x.verdict, x.deadline = withThreshold(v, j.allowed[i], j.facts[i].OwnersKnown, x.at), own.Deadline
			x.socket = *s
			x.event = j.decide(x.verdict)
		}
	})
}

// decide returns the event that follows from a verdict. A destroy reduces the grant.
func (j *job) decide(v policy.Verdict) event {
	switch {
	case v.Reason == policy.NotHalfClosed:
		return eventGone
	case v.NeedsOwners:
		return eventExamined
	case v.Reason == policy.WouldDestroy:
		return eventDestroyForbidden
	case v.Reason != policy.Destroyable:
		return eventExamined
	case j.grant < 1:
		return eventOverBudget
	}
	j.grant--
	j.tried++
	return eventDestroyed
}

// destroy destroys the sockets with that decision among the first n of e.index. If a look is too old by then, it adds the
// socket to e.retries.
func (e *examiner) destroy(conn conn, j *job, n int) error {
	decided := 0
	for _, i := range e.index[:n] {
		if j.results[i].event == eventDestroyed {
			e.ids[decided], e.index[decided] = j.results[i].socket.ID, i
			decided++
		}
	}
	if decided == 0 {
		return nil
	}
	answered, old := 0, 0
	err := conn.DestroyAll(e.ids[:decided], func(i int) bool {
		x := &j.results[e.index[i]]
		now := e.clock.Now()
		if !e.age.allows(now.Sub(x.at)) {
			return false
		}
		x.sent = now
		return true
	}, func(i int, err error) {
		answered++
		x := &j.results[e.index[i]]
		switch {
		case errors.Is(err, inetdiag.ErrNotReady):
			j.grant, j.tried = j.grant+1, j.tried-1
			e.retries = append(e.retries, e.index[i])
			old++
		case errors.Is(err, inetdiag.ErrGone):
			x.event = eventGone
		case err != nil:
			x.event, x.err = eventRefused, err
		}
	})
	for _, i := range e.index[answered:decided] { // the kernel may have destroyed them or not
		x := &j.results[i]
		x.event, x.err = eventRefused, err
	}
	j.old += uint64(old)
	e.age.update(old > 0)
	j.bound = max(j.bound, e.age.bound())
	return err
}

// lookAge bounds the age of a look when the destroy is sent: after the look an application may use the socket, and the
// kernel has no compare-and-destroy. The age is microseconds unless the thread has to wait for a CPU, as under a CPU
// quota. The bound grows on a machine that is too slow to keep it, because otherwise nothing would be destroyed there.
type lookAge struct {
	tooOld int // looks in a row that were
}

const (
	minLookAge = time.Millisecond
	maxLookAge = 100 * time.Millisecond
	// maxOldBatches is after how many looks that were too old sockets are looked at one at a time.
	maxOldBatches = 3
	// maxOldSingles is after how many of them the bound doubles with each.
	maxOldSingles = 10
)

// batch returns how many sockets to look at before their destroys.
func (a *lookAge) batch() int {
	if a.tooOld < maxOldBatches {
		return destroyBatch
	}
	return 1
}

// bound returns the largest allowed age.
func (a *lookAge) bound() time.Duration {
	bound := minLookAge
	for range a.tooOld - maxOldSingles + 1 {
		if bound *= 2; bound >= maxLookAge {
			return maxLookAge
		}
	}
	return bound
}

// allows reports whether a look of that age is recent enough.
func (a *lookAge) allows(age time.Duration) bool { return age <= a.bound() }

// update records whether any look of a batch was too old.
func (a *lookAge) update(tooOld bool) {
	if !tooOld {
		a.tooOld = 0
		return
	}
	a.tooOld++
}
