// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"

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
	results   []examined
	err       error // why the rest has no result
}

// examined is what was found and done about one socket.
type examined struct {
	event   event
	at      monotime.Time
	history policy.History
	socket  inetdiag.Socket
	verdict policy.Verdict
	err     error
}

// conn looks at and destroys single sockets of one network namespace, as inetdiag.Conn does.
type conn interface {
	LookupAll(ids []inetdiag.ID, yield func(i int, s *inetdiag.Socket, err error)) error
	DestroyAll(ids []inetdiag.ID, yield func(i int, err error)) error
	Close() error
}

// opener opens a conn in a network namespace.
type opener func(finder.Netns) (conn, error)

// examiner looks at single sockets again, judges what it sees and destroys at once.
type examiner struct {
	open  opener
	clock monotime.Clock
	ids   [handful]inetdiag.ID
	index [handful]int
}

// examine works through a job. What it has no answer for it leaves without a result.
func (e *examiner) examine(j *job) {
	conn, err := e.open(j.netns)
	if err != nil {
		j.err = err
		return
	}
	defer conn.Close()
	for done := 0; done < len(j.histories) && j.err == nil; {
		n := min(handful, len(j.histories)-done)
		j.err = e.lookUp(conn, j, done, n)
		if j.err == nil {
			j.err = e.destroy(conn, j, done)
		}
		done += n
	}
}

// lookUp asks the kernel for n sockets from the first on, and judges each.
func (e *examiner) lookUp(conn conn, j *job, first, n int) error {
	ids := e.ids[:n]
	for i := range ids {
		ids[i] = j.histories[first+i].ID
	}
	// One reading of the clock for all: it is a system call. Being early by the time of a look makes no
	// socket older than the kernel's tick does.
	at := e.clock.Now()
	return conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
		j.results = append(j.results, examined{at: at})
		x := &j.results[len(j.results)-1]
		switch {
		case errors.Is(err, inetdiag.ErrGone):
			x.event = eventGone
		case err != nil:
			x.event, x.err = eventRefused, err
		default:
			look := policy.Look{At: x.at, Socket: s}
			x.history = policy.Follow(&j.histories[first+i], look)
			x.verdict = j.judge.judge(&x.history, s, j.facts[first+i], x.at)
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

// destroy destroys those of the sockets looked at last, from the first on, for which that was decided.
func (e *examiner) destroy(conn conn, j *job, first int) error {
	n := 0
	for i := first; i < len(j.results); i++ {
		if j.results[i].event == eventDestroyed {
			e.ids[n], e.index[n] = j.results[i].socket.ID, i
			n++
		}
	}
	if n == 0 {
		return nil
	}
	answered := 0
	err := conn.DestroyAll(e.ids[:n], func(i int, err error) {
		answered++
		x := &j.results[e.index[i]]
		switch {
		case errors.Is(err, inetdiag.ErrGone):
			x.event = eventGone
		case err != nil:
			x.event, x.err = eventRefused, err
		}
	})
	for i := answered; i < n; i++ { // whether these are destroyed is not known
		x := &j.results[e.index[i]]
		x.event, x.err = eventRefused, err
	}
	return err
}
