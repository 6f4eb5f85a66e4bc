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

// handful is how many sockets are looked at before those of them that are past their grace are destroyed.
// The smaller it is, the less time a socket has to change between the two; the larger, the fewer system
// calls there are.
const handful = 8

// jobSize is how many sockets the examiner takes on at once.
const jobSize = 256

// job is a number of sockets of one namespace that are to be looked at and, where that is the verdict,
// destroyed.
type job struct {
	ns    *registered // for the loop: the examiner does not touch it
	list  []*candidate
	netns finder.Netns
	judge registered // with its policies and its limit alone
	grant int        // how many may be destroyed
	tried int        // how many it was tried to destroy

	histories []policy.History
	facts     []policy.Facts
	others    []policy.Standing // what of the other ends spares them
	allowed   []bool            // by rules with a number
	results   []examined
	err       error         // why the rest has no result
	old       uint64        // looks that were too old to destroy by
	bound     time.Duration // the greatest age of a look that was allowed
}

// examined is what was found and done about one socket.
type examined struct {
	event    event
	at       monotime.Time // before the kernel looked
	sent     monotime.Time // when the destroy was sent, zero if none was
	history  policy.History
	socket   inetdiag.Socket
	verdict  policy.Verdict
	deadline monotime.Time // by the policies alone
	err      error
}

// conn looks at and destroys single sockets of one network namespace, as inetdiag.Conn does.
type conn interface {
	LookupAll(ids []inetdiag.ID, yield func(i int, s *inetdiag.Socket, err error)) error
	DestroyAll(ids []inetdiag.ID, ready func(i int) bool, yield func(i int, err error)) error
	Close() error
}

// opener opens a conn in a network namespace.
type opener func(finder.Netns) (conn, error)

// examiner looks at single sockets again, judges what it sees and destroys at once.
type examiner struct {
	open    opener
	clock   monotime.Clock
	age     lookAge
	ids     [handful]inetdiag.ID
	index   [handful]int // in the job, of each of ids
	retries []int        // in the job, of the sockets whose look was too old
}

// examine works through a job. What it has no answer for it leaves without a result.
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
		if j.err = e.lookUp(conn, j, n); j.err == nil {
			j.err = e.destroy(conn, j, n)
		}
	}
	for i := range j.results {
		if x := &j.results[i]; x.event == eventDestroyed && x.sent.IsZero() { // its look is no answer any more
			x.event, x.err = eventRefused, j.err
		}
	}
}

// lookUp asks the kernel for the first n sockets of e.index, and judges each.
func (e *examiner) lookUp(conn conn, j *job, n int) error {
	ids := e.ids[:n]
	for i := range ids {
		ids[i] = j.histories[e.index[i]].ID
	}
	// One reading of the clock for all: it is a system call. Being early by the time of a look makes no
	// socket older than the kernel's tick does.
	at := e.clock.Now()
	return conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
		i = e.index[i]
		if i == len(j.results) { // else it is looked at again
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
			v := sparedByOther(own, j.others[i], x.at)
			x.verdict, x.deadline = limited(v, j.allowed[i], j.facts[i].OwnersKnown, x.at), own.Deadline
			x.socket = *s
			x.event = j.decide(x.verdict)
		}
	})
}

// decide returns what is done by the verdict; a destroy is taken from the grant.
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

// destroy destroys those of the first n sockets of e.index for which that was decided. Those whose look has become too
// old by then it leaves in e.retries.
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
	for _, i := range e.index[answered:decided] { // whether these are destroyed is not known
		x := &j.results[i]
		x.event, x.err = eventRefused, err
	}
	j.old += uint64(old)
	e.age.note(old > 0)
	j.bound = max(j.bound, e.age.bound())
	return err
}
