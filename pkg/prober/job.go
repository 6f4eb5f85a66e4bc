// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"errors"
	"fmt"
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

// fail finishes an item of an arming job with an error.
func (i *item) fail(err error) {
	obstacle := NoObstacle
	if e, ok := errors.AsType[*obstacleError](err); ok {
		obstacle = e.obstacle
	} else if errors.Is(err, errNoDescriptor) {
		obstacle = OwnerUnknown
	}
	i.end(NotAsked, obstacle, err)
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

// newArming returns a job that arms the sockets of the items.
func newArming(env *environment, items []*item) *job {
	j := &job{kind: arming, env: env, items: items}
	j.lookups(env.screen, func(i *item, err error) {
		if isGone(err) {
			i.end(Closed, NoObstacle, err)
			return
		}
		i.end(NotAsked, NoObstacle, err)
	})
	j.scans()
	j.each(j.inspect)
	j.writes = len(j.steps)
	j.steps = append(j.steps, step{items: items, run: j.write})
	j.each(j.arm)
	return j
}

// maxPriority is the largest ClassID that counts as a SO_PRIORITY if no net_cls hierarchy is mounted.
const maxPriority = 1<<16 - 1

// screen finishes the items whose peers cannot be asked, according to sock_diag.
func (e *environment) screen(i *item, s *inetdiag.Socket) {
	i.seen = true
	i.at = e.clock.Now() // after the answer: the baseline must not be dated too early
	q := i.asking.question
	switch {
	case s.State != q.State || s.Inode == 0:
		i.end(Closed, NoObstacle, nil)
	case !s.HasInfo:
		i.end(NotAsked, NoObstacle, errors.New("kernel sent no tcp_info"))
	case s.WQueue > 0:
		i.end(NotAsked, NoObstacle, ErrUnacked)
	case s.ClassID != e.class && (e.hasClass || s.ClassID > maxPriority):
		i.end(NotAsked, NetCls, fmt.Errorf("socket has the net_cls class %#x, own sockets have %#x", s.ClassID, e.class))
	}
	// The kernel's keepalive timer counts from the later of the two times.
	i.idle = min(s.Info.LastAckRecv, s.Info.LastDataRecv)
	i.baseline = baseline{ack: i.at.Add(-s.Info.LastAckRecv), received: s.Info.BytesReceived, probes: int(s.Info.Probes)}
	i.armed = newArmed(q)
	i.armed.inode = s.Inode
}

// scans adds a step for each descriptor table that finds the sockets of all items in it.
func (j *job) scans() {
	wanted := make(map[table]map[uint32]struct{})
	var tables []table
	for _, i := range j.items {
		for n := range i.asking.question.Owners {
			o := &i.asking.question.Owners[n]
			if o.HasFD {
				continue
			}
			t := o.table()
			if wanted[t] == nil {
				wanted[t] = make(map[uint32]struct{})
				tables = append(tables, t)
			}
			wanted[t][i.asking.question.Inode] = struct{}{}
		}
	}
	for _, t := range tables {
		j.steps = append(j.steps, step{items: j.items, run: func() {
			if o := j.tables.table(t); o.err == nil {
				j.tables.find(t, o, wanted[t])
			}
		}})
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
	if !known && o.sockets != nil { // a scan of this job has not found it
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

// inspect reads a socket's options.
func (j *job) inspect(i *item) {
	q := i.asking.question
	fd, err := j.duplicate(q.Owners, &i.armed)
	if err != nil {
		i.fail(err)
		return
	}
	defer closeDuplicate(fd)
	j.env.at("inspect", fd)
	blocks, err := lingers(fd)
	if err == nil && blocks {
		i.end(NotAsked, Linger, nil)
		return
	}
	if err == nil {
		err = i.armed.saved.read(fd)
	}
	if err != nil {
		i.fail(&obstacleError{Refused, err})
		return
	}
	if saved := &i.armed.saved; saved.asksAlready(q.ProbeAfter) {
		j.follow(i)
		return
	}
	i.baseline.probes = min(max(q.Count, 1), maxKeepCount)
}

// follow uses the application's own keepalive as the question.
func (j *job) follow(i *item) {
	saved := &i.armed.saved
	i.usesOwn = true
	i.done = true
	outstanding := i.baseline.probes
	i.baseline.probes = int(saved[keepCount])
	i.baseline.timeout = time.Duration(saved[userTimeout]) * time.Millisecond
	i.at = j.env.clock.Now()
	if idle := time.Duration(saved[keepIdle]) * time.Second; outstanding == 0 && i.at.Sub(i.baseline.ack) < idle+time.Second {
		i.result = Alive // otherwise there would be an unanswered probe
	}
}

// write writes the record of the sockets that are armed next.
func (j *job) write() {
	var all []armed
	now := j.env.clock.Now()
	for _, i := range j.items {
		if !i.done {
			q := i.asking.question
			idle := i.idle + now.Sub(i.at)
			i.armed.armed = armedValues(q.Count, q.Interval, idle)
			i.until = now.Add(time.Duration(i.armed.armed[keepIdle])*time.Second - idle - probeMargin)
			all = append(all, i.armed)
		}
	}
	if len(all) == 0 {
		return
	}
	var err error
	if j.record, err = j.env.records.write(all); err == nil {
		return
	}
	for _, i := range j.items {
		if !i.done {
			i.end(NotAsked, NoObstacle, err)
		}
	}
}

// arm sets a socket's options.
func (j *job) arm(i *item) {
	if i.isLate(j.env) {
		i.done, i.late = true, true
		return
	}
	i.isArmed = true // already now: the thread may get stuck after it has set an option
	fd, err := j.duplicateAgain(&i.armed)
	if err != nil {
		i.isArmed = false
		if errors.Is(err, errNoDescriptor) { // its owner has closed or moved it since then
			i.end(Closed, NoObstacle, nil)
			return
		}
		i.fail(err)
		return
	}
	defer closeDuplicate(fd)
	j.env.at("arm", fd)
	var now values
	if err = now.read(fd); err == nil && now != i.armed.saved {
		i.isArmed, i.done, i.changed = false, true, true
		return
	}
	if err == nil && i.isLate(j.env) { // the thread may have been delayed
		i.isArmed, i.done, i.late = false, true, true
		return
	}
	if err == nil {
		err = arm(fd, &i.armed.saved, &i.armed.armed)
	}
	if err != nil {
		i.isArmed = false
		i.fail(&obstacleError{Refused, err})
		return
	}
	i.at = j.env.clock.Now()
	i.done = true
	j.env.at("armed", fd)
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

// newLookup returns a job that looks up the sockets of the items, and restores those whose question has a result.
func newLookup(env *environment, items []*item) *job {
	j := &job{kind: lookingUp, env: env, items: items}
	j.lookups(func(i *item, s *inetdiag.Socket) {
		i.seen = true
		i.result, i.err = i.baseline.decide(s, i.at)
		if i.result == 0 && i.withdraw {
			i.result = Cancelled
		}
		if i.result == 0 && i.overdue {
			i.result, i.err = NotAsked, ErrNoProbe
		}
		i.done = i.result == 0
		if i.result != 0 && i.isArmed {
			i.expect(s, i.at)
		}
		if i.result == Alive {
			i.at = i.at.Add(-s.Info.LastAckRecv)
		}
	}, func(i *item, err error) {
		switch {
		case isGone(err):
			i.postponeOnceGone()
		case i.withdraw:
			i.result = Cancelled
		case i.overdue:
			i.result, i.err = NotAsked, err
		default:
			i.done = true // try again later
		}
	})
	j.each(j.finish)
	return j
}

// finish restores the options of a socket whose question has a result, and determines how it was closed if it was.
func (j *job) finish(i *item) {
	q := i.asking.question
	if !i.isArmed && i.result != 0 {
		i.done = true
		return
	}
	if i.isLate(j.env) {
		i.result, i.err = 0, nil
		i.done, i.postponed = true, true
		return
	}
	fd, err := j.duplicateAgain(&i.armed)
	if errors.Is(err, errNoDescriptor) {
		fd, err = j.duplicate(withoutFDs(q.Owners), &i.armed)
	}
	if err != nil {
		if i.result == 0 {
			i.result = Closed
		}
		i.err = errors.Join(i.err, err)
		i.done = true
		return
	}
	defer closeDuplicate(fd)
	j.env.at("restore", fd)
	if i.result == 0 {
		i.result = Closed
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			i.result = i.baseline.closedBy(info)
		}
	}
	if i.isArmed {
		i.refused = restore(fd, &i.armed.saved, &i.armed.armed)
		i.isArmed = false
	}
	i.done = true
}

// withoutFDs returns the owners without descriptors.
func withoutFDs(all []Owner) []Owner {
	some := make([]Owner, len(all))
	for n, o := range all {
		o.HasFD = false
		some[n] = o
	}
	return some
}

// newRestoring returns a job that restores sockets from their records, at the recorded descriptors.
func newRestoring(env *environment, items []*item) *job {
	j := &job{kind: restoring, env: env, items: items}
	j.quiet()
	j.each(func(i *item) {
		i.done = true
		if i.postponed = i.isLate(env); i.postponed {
			return
		}
		fd, err := j.duplicateAgain(&i.armed)
		if errors.Is(err, errNoDescriptor) {
			fd, err = j.duplicate([]Owner{{PID: i.armed.table.pid, TID: i.armed.table.tid}}, &i.armed)
		}
		j.put(i, fd, err)
	})
	return j
}

// quiet adds steps that postpone items whose owner may be about to close the socket. The others proceed, even if their lookup
// fails.
func (j *job) quiet() {
	j.lookups(func(i *item, s *inetdiag.Socket) {
		i.seen, i.gone = true, s.Inode == 0 // its owner has closed it
		i.expect(s, i.at)
	}, func(i *item, err error) {
		if errors.Is(err, inetdiag.ErrGone) || netns.IsGone(err) && len(i.netns().Paths) > 0 {
			i.postponeOnceGone()
		}
	})
}

// put restores a socket through a duplicate, and closes it.
func (j *job) put(i *item, fd int, err error) {
	if i.err = err; err != nil {
		return
	}
	defer closeDuplicate(fd)
	j.env.at("restore", fd)
	i.refused = restore(fd, &i.armed.saved, &i.armed.armed)
	i.isArmed = false
}

// newSearching returns a job that searches all processes for sockets that have moved, and restores them.
func newSearching(ctx context.Context, env *environment, items []*item) *job {
	j := &job{kind: searching, env: env, items: items}
	var found map[uint32][]owners.Process
	j.steps = append(j.steps, step{items: items, run: func() {
		q := owners.Query{Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: owners.NetnsProcessesFirst}
		for _, i := range items {
			q.Inodes[i.armed.inode] = struct{}{}
			q.Netns[i.armed.netns.Identity.Inode] = struct{}{}
		}
		found, _ = env.procs.Find(ctx, q) // unreadable processes are skipped
	}})
	j.quiet()
	j.each(func(i *item) {
		i.done = true
		if i.postponed = i.isLate(env); i.postponed {
			return
		}
		var all []Owner
		for _, p := range found[i.armed.inode] {
			all = append(all, Owner{PID: p.PID})
		}
		fd, err := j.duplicate(all, &i.armed)
		j.put(i, fd, err)
	})
	return j
}

// newTidying returns a job that removes records.
func newTidying(env *environment, names []string) *job {
	j := &job{kind: tidying, env: env}
	j.steps = append(j.steps, step{run: func() {
		for _, name := range names {
			_ = env.records.remove(name) // if it remains, the next Prober reads it
		}
	}})
	return j
}

// ownClass returns the net_cls class of this process's sockets, false if no socket has a class.
func ownClass() (class uint32, has bool, err error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !namesNetCls(string(b)) {
		return 0, false, nil // no cgroups, or the net_cls controller is not mounted
	}
	class, err = inetdiag.OwnClassID()
	return class, true, err
}
