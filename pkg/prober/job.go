// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// maxBatch bounds the sockets of a job.
const maxBatch = 128

// kind is the kind of a job.
type kind uint8

const (
	arming kind = iota
	lookingUp
	restoring
	searching
	tidying
)

// item is one socket of a job. The job's thread owns it until its step is done; a stuck thread keeps it.
type item struct {
	asking   *asking      // of the loop: the thread reads only the question, which is immutable
	socket   *armedSocket // of the loop; nil if the options are the owner's
	armed    armed
	baseline baseline
	withdraw bool // restore it whatever the lookup shows
	overdue  bool // restore it if this lookup has no result
	gone     bool // a lookup has not found the socket; set before the job if that was at least quietTime ago

	seen  bool          // a lookup has found the socket
	idle  time.Duration // at the time of the lookup
	until monotime.Time // make no duplicate later, since a probe follows soon; zero if none does

	// Results.
	done      bool  // the remaining steps skip it
	isArmed   bool  // its options may be those of the question
	changed   bool  // the owner changed an option between two reads
	late      bool  // it was not armed in time
	usesOwn   bool  // the application's own keepalive asks
	postponed bool  // postponed by quietTime without a duplicate, since the owner may be about to close the socket
	refused   error // the kernel's, for restoring an option
	unreached bool  // the kernel refused a duplicate: the socket may still be there
	result    Result
	Obstacle
	err error
	at  monotime.Time
}

func (i *item) netns() *finder.Netns {
	if i.asking != nil {
		return &i.asking.question.Netns // has all paths
	}
	return &i.armed.netns
}

func (i *item) id() inetdiag.ID {
	if i.asking != nil {
		return i.asking.question.ID
	}
	return i.armed.id
}

// expect sets until, from the socket's keepalive timer.
func (i *item) expect(s *inetdiag.Socket, at monotime.Time) {
	if s.Timer == keepaliveTimer {
		i.until = at.Add(s.Expires - probeMargin)
	}
}

// isLate reports whether a duplicate made now could still be open when the next probe is answered.
func (i *item) isLate(e *environment) bool { return !i.until.IsZero() && i.until.Before(e.clock.Now()) }

// postponeOnceGone postpones an item whose socket was not found, unless its owner had time to close it.
func (i *item) postponeOnceGone() {
	if !i.gone {
		i.gone, i.done, i.postponed = true, true, true
	}
}

func (i *item) end(r Result, o Obstacle, err error) {
	i.done, i.result, i.Obstacle, i.err = true, r, o, err
}

// step is one part of a job. If it blocks, its items are stuck with the thread.
type step struct {
	run       func()
	items     []*item
	duplicate bool // it has a duplicate of a descriptor
}

// The time of a step after which its thread counts as stuck.
const (
	duplicateTimeout = time.Second
	stepTimeout      = 30 * time.Second
)

func (j *job) patience(s *step) time.Duration {
	if s.duplicate {
		return j.env.patience
	}
	return stepTimeout
}

// job runs steps on a thread that the loop does not wait for. The loop can take away the steps that have not begun.
type job struct {
	kind   kind
	items  []*item
	steps  []step
	env    *environment
	tables tables

	begun  atomic.Int64 // number of steps that have begun; one more than all steps once they are done
	since  atomic.Int64 // monotime.Time of the last one's start
	thread atomic.Int32 // thread ID
	record string       // name of the record of an arming job
	writes int          // index of the step that writes it
	cpu    time.Duration
	opened int // number of network namespaces
	// Of the loop, after it has taken steps away:
	stuck   *step
	batched bool // the loop has a batch for the record
}

// environment has the dependencies of jobs. It is immutable.
type environment struct {
	opener   finder.Opener
	clock    monotime.Clock
	records  *records
	wrote    func(error) // of a record
	procs    *owners.Proc
	class    uint32                    // net_cls class of this process's sockets
	hasClass bool                      // sockets have net_cls classes
	patience time.Duration             // duplicateTimeout, except in tests
	pause    func(step string, fd int) // for tests, called between system calls on a duplicate
}

func (e *environment) at(step string, fd int) {
	if e.pause != nil {
		e.pause(step, fd)
	}
}

// openCost is the CPU time for entering a network namespace. Another thread spends it, so the job's own time lacks it.
const openCost = 35 * time.Microsecond

// run runs the steps until they are done or taken away. The goroutine is locked to its thread.
func (j *job) run() {
	j.thread.Store(int32(unix.Gettid()))
	defer j.tables.close()
	for n := range j.steps {
		if !j.begin(n) {
			return
		}
		j.steps[n].run()
	}
	j.begin(len(j.steps))
}

func (j *job) begin(n int) bool {
	j.since.Store(int64(j.env.clock.Now()))
	return j.begun.CompareAndSwap(int64(n), int64(n)+1)
}

// isStuck reports whether the current step takes too long.
func (j *job) isStuck(now monotime.Time) bool {
	n := int(j.begun.Load())
	if n == 0 || n > len(j.steps) {
		return false
	}
	return now.Sub(monotime.Time(j.since.Load())) > j.patience(&j.steps[n-1])
}

// interrupt sends a signal to the thread, which ends its wait if it closes the last reference of a socket with SO_LINGER
// (sk_stream_wait_close in net/core/stream.c). The Go runtime ignores a SIGURG that it has not sent.
func (j *job) interrupt() {
	if tid := j.thread.Load(); tid != 0 {
		_ = unix.Tgkill(os.Getpid(), int(tid), unix.SIGURG)
	}
}

// take takes away the steps that have not begun, and returns the index of the current one, -1 before the first. It returns
// false, and takes nothing, if all are done.
func (j *job) take() (int, bool) {
	n := j.begun.Swap(math.MaxInt64)
	if n > int64(len(j.steps)) {
		j.begun.Store(n)
		return 0, false
	}
	return int(n) - 1, true
}

// each adds a step for each item. It is skipped if the item is done by then.
func (j *job) each(fn func(i *item)) {
	for _, i := range j.items {
		j.steps = append(j.steps, step{items: []*item{i}, duplicate: true, run: func() {
			if !i.done {
				fn(i)
			}
		}})
	}
}

// groups returns the items by network namespace, except gone ones.
func (j *job) groups() [][]*item {
	var all [][]*item
	index := make(map[netns.Identity]int)
	for _, i := range j.items {
		if i.gone {
			continue
		}
		id := i.netns().Identity
		n, ok := index[id]
		if !ok {
			n = len(all)
			index[id], all = n, append(all, nil)
		}
		all[n] = append(all[n], i)
	}
	return all
}

// lookups adds a step for each network namespace that looks up its sockets.
func (j *job) lookups(seen func(i *item, s *inetdiag.Socket), failed func(i *item, err error)) {
	for _, group := range j.groups() {
		j.steps = append(j.steps, step{items: group, run: func() { j.lookUp(group, seen, failed) }})
	}
}

func (j *job) lookUp(group []*item, seen func(*item, *inetdiag.Socket), failed func(*item, error)) {
	e := j.env
	j.opened++
	conn, err := e.opener.Open(*group[0].netns())
	visited := 0
	if err == nil {
		ids := make([]inetdiag.ID, len(group))
		for n, i := range group {
			ids[n] = i.id()
		}
		asked := e.clock.Now() // before the kernel's answer: an acknowledgement must not be dated too late
		err = conn.LookupAll(ids, func(n int, s *inetdiag.Socket, err error) {
			visited = n + 1
			i := group[n]
			i.at = asked
			if err != nil {
				failed(i, err)
			} else {
				seen(i, s)
			}
		})
		_ = conn.Close() // it would keep the network namespace alive
	}
	for _, i := range group[visited:] {
		i.at = e.clock.Now()
		failed(i, err)
	}
}

// duplicate returns a duplicate of one of the socket's descriptors, and stores its place in a.
func (j *job) duplicate(all []Owner, a *armed) (int, error) {
	err := errNoDescriptor // without any owner
	for n := range all {
		fd, e := j.duplicateOf(&all[n], a)
		if e == nil {
			return fd, nil
		}
		if !errors.Is(e, errNoDescriptor) {
			err = e
		}
	}
	return -1, err
}

func (j *job) duplicateOf(owner *Owner, a *armed) (int, error) {
	t := owner.table()
	o := j.tables.table(t)
	if o.err != nil {
		return -1, o.err
	}
	number, known := owner.FD, owner.HasFD
	if !known {
		if o.sockets == nil { // one scan serves all sockets of the job
			j.tables.find(t, o, j.inodes())
		}
		number, known = o.sockets[a.inode]
	}
	if known {
		fd, err := o.duplicate(number, a.identity)
		if err == nil {
			a.table, a.number, a.started = t, number, o.started
		}
		if !errors.Is(err, errNoDescriptor) {
			return fd, err
		}
	}
	if !known { // a scan of this job has not found it
		if o.scanErr != nil {
			return -1, o.scanErr
		}
		return -1, errNoDescriptor
	}
	// The process may have moved it to another descriptor.
	fd := -1
	last := errNoDescriptor
	err := j.tables.scan(t, func(n int, inode uint32) bool {
		if inode != a.inode {
			return true
		}
		if fd, last = o.duplicate(n, a.identity); last == nil {
			a.table, a.number, a.started = t, n, o.started
		}
		return errors.Is(last, errNoDescriptor)
	})
	if fd < 0 && err != nil {
		last = err
	}
	return fd, last
}

// inodes returns the inodes of the job's sockets.
func (j *job) inodes() map[uint32]struct{} {
	all := make(map[uint32]struct{}, len(j.items))
	for _, i := range j.items {
		all[i.armed.inode] = struct{}{}
	}
	return all
}

// duplicateAgain returns another duplicate of the descriptor in a.
func (j *job) duplicateAgain(a *armed) (int, error) {
	o := j.tables.table(a.table)
	if o.err != nil {
		return -1, o.err
	}
	if a.started != 0 && o.started != 0 && a.started != o.started {
		return -1, errNoDescriptor // another process has the PID now
	}
	return o.duplicate(a.number, a.identity)
}

// isGone reports whether a lookup failed because the socket or its network namespace does not exist.
func isGone(err error) bool { return errors.Is(err, inetdiag.ErrGone) || netns.IsGone(err) }
