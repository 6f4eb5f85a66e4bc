// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/halfclose/halfclose/internal/heap"
	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/internal/rotation"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

const (
	// maxJobs bounds the threads at work, not counting stuck ones.
	maxJobs = 4
	// maxStuck is the number of stuck threads at which the loop stops asking peers. Restoring continues, on one thread
	// at a time, up to maxStuckRestoring.
	maxStuck          = 4
	maxStuckRestoring = 16
	// lookupWindow is the time by which a lookup may be early, to share a batch.
	lookupWindow = 5 * time.Millisecond
	// stopTimeout bounds the time for which Run waits for its jobs before it returns.
	stopTimeout = 3 * time.Second
)

// phase is the state of a question.
type phase uint8

const (
	queued phase = iota
	beingArmed
	waiting // for the time of the next lookup
	beingLookedUp
	stuckAt // with a thread that may never return
)

// asking is a question with its state.
type asking struct {
	question  *Question
	id        identity
	subject   subject
	phase     phase
	withdrawn bool
	gone      bool // a lookup has not found the socket: its owner gets time to close it
	retries   int  // after its owner changed an option between two reads

	socket   *armedSocket // nil if the options are the owner's
	armed    armed        // has the descriptor, even if the options are the owner's
	baseline baseline
	began    monotime.Time
	until    monotime.Time
	lookups  int // so far
	due      monotime.Time
	index    int // in the heap
}

// armedSocket is a socket that may have the options of a question, and must be restored.
type armedSocket struct {
	armed
	batch    *batch
	earlier  bool // an earlier Prober has armed it
	ended    bool // a search has found it closed
	refused  bool // the kernel refused the last attempt to restore it: a later one may succeed, also if it has ended
	gone     bool // a lookup has not found it, and its owner has had time to close it
	searches int
	due      monotime.Time // of the next search, or of the postponed restoration
	busy     bool          // a job has it
}

// batch is a record with the number of its sockets that are not restored yet.
type batch struct {
	record string
	left   int
}

// loop is the state of Run, which one goroutine owns.
type loop struct {
	ctx     context.Context // of Run
	p       *Prober
	clock   monotime.Clock
	pacer   *pacing.Pacer
	limiter *rate.Limiter

	asked        map[subject]*asking
	queue        *rotation.Queue[netns.Identity, *asking] // including withdrawn ones, which are answered already
	queued       int                                      // without these
	due          *heap.Heap[*asking]                      // in phase waiting, by due
	armedSockets map[identity]*armedSocket
	missing      map[*armedSocket]struct{} // those of armedSockets to search for
	recovered    []*armedSocket            // those of armedSockets from an earlier Prober, until a job has them
	postponed    []*armedSocket            // those of recovered that were postponed, by due
	obsolete     []string                  // records to remove

	jobs     map[*job]struct{} // at work
	stuck    map[*job]struct{}
	finished chan *job
	stopped  chan struct{} // closed when finished has no receiver any more
	running  [tidying + 1]int
	stopping bool

	answers []Answer
	stats   Stats
}

func newLoop(ctx context.Context, p *Prober) *loop {
	now := p.config.Clock.Now()
	return &loop{
		ctx: ctx, p: p, clock: p.config.Clock,
		pacer:        pacing.New(p.config.Budget, now),
		limiter:      rate.NewLimiter(rate.Limit(p.config.MaxPerSecond), max(1, p.config.MaxPerSecond/10)),
		asked:        make(map[subject]*asking),
		queue:        rotation.New[netns.Identity, *asking](),
		due:          heap.New(func(a, b *asking) bool { return a.due.Before(b.due) }, func(a *asking, i int) { a.index = i }),
		armedSockets: make(map[identity]*armedSocket),
		missing:      make(map[*armedSocket]struct{}),
		jobs:         make(map[*job]struct{}), stuck: make(map[*job]struct{}),
		finished: make(chan *job), stopped: make(chan struct{}),
		stats: Stats{
			Answers: make(map[Result]uint64), Obstacles: make(map[Obstacle]uint64), Refused: make(map[unix.Errno]uint64),
		},
	}
}

// wall converts a monotonic time for the limiter, which only needs differences.
func wall(t monotime.Time) time.Time { return time.Unix(0, int64(t)) }

// recover reads the records of an earlier Prober.
func (l *loop) recover() error {
	left, unreadable, err := l.p.env.records.read()
	if err != nil {
		return fmt.Errorf("ask peers: %w", err)
	}
	for _, err := range unreadable {
		l.stats.Unreadable++
		l.p.config.Log.Warn("sockets of an earlier reaper may still have its keepalive options", "err", err)
	}
	for _, e := range left {
		b := &batch{record: e.name}
		for n := range e.armed {
			id := e.armed[n].identity
			// A socket may be in several records: a record outlives its sockets' restoration until it is removed, and a question
			// that was not armed in time is recorded again. The latest has the options that the socket may have now.
			if _, ok := l.armedSockets[id]; ok {
				continue
			}
			b.left++
			h := &armedSocket{armed: e.armed[n], batch: b, earlier: true, busy: true}
			l.armedSockets[id] = h
			l.recovered = append(l.recovered, h)
		}
		if b.left == 0 {
			l.obsolete = append(l.obsolete, b.record)
		}
	}
	return nil
}

func (l *loop) run() {
	defer close(l.stopped)
	for l.ctx.Err() == nil {
		for _, m := range l.p.collect() {
			l.receive(m)
		}
		wait := l.dispatch()
		l.report()
		l.await(l.ctx.Done(), wait)
	}
	l.stop()
}

// await waits for a message or a finished job, for at most wait.
func (l *loop) await(done <-chan struct{}, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-l.p.wake:
	case j := <-l.finished:
		l.finish(j)
	case <-timer.C:
	}
}

// report publishes the figures, and delivers the answers.
func (l *loop) report() {
	l.stats.Queued, l.stats.Asking = l.queued, len(l.asked)-l.queued
	l.stats.Armed, l.stats.Missing = len(l.armedSockets), len(l.missing)
	l.stats.Stuck = len(l.stuck)
	if suspended := len(l.stuck) >= maxStuck; suspended != l.stats.Suspended {
		l.stats.Suspended = suspended
		if suspended {
			l.p.config.Log.Warn("threads are blocked by closing duplicates of descriptors: peers are not asked", "threads", len(l.stuck))
		} else {
			l.p.config.Log.Info("threads are no longer blocked: peers are asked again")
		}
	}
	l.p.publish(l.stats)
	if answers := l.answers; len(answers) > 0 {
		l.answers = nil
		l.p.config.Answered(answers)
	}
}

// answer removes a question, and adds its answer.
func (l *loop) answer(a *asking, r Result, o Obstacle, err error, at monotime.Time) {
	if l.asked[a.subject] == a {
		delete(l.asked, a.subject)
	}
	l.record(a.question, r, o, err, at)
}

// record adds an answer.
func (l *loop) record(q *Question, r Result, o Obstacle, err error, at monotime.Time) {
	if r != NotAsked && r != Cancelled {
		err = nil
	}
	l.stats.Answers[r]++
	if r == NotAsked && o != NoObstacle {
		l.stats.Obstacles[o]++
		if errno, ok := errors.AsType[unix.Errno](err); ok && (o == Refused || o == NoPtrace) {
			l.stats.Refused[errno]++
		}
	}
	l.answers = append(l.answers, Answer{Question: q, Result: r, Obstacle: o, At: at, Err: err})
}

func (l *loop) receive(m message) {
	now := l.clock.Now()
	if m.question == nil {
		if a := l.asked[m.cancel]; a != nil {
			l.withdraw(a, now)
		}
		return
	}
	q := m.question
	s := subject{q.Netns.Identity, q.ID.Cookie()}
	a := &asking{question: q, subject: s, id: identity{s.netns.Cookie, s.cookie}, index: -1}
	switch {
	case l.asked[s] != nil:
		l.record(q, NotAsked, NoObstacle, ErrOutstanding, now)
	case len(q.Owners) == 0:
		l.record(q, NotAsked, OwnerUnknown, nil, now)
	case !q.AskSigpipe && diesOfSigpipe(q.Owners):
		l.record(q, NotAsked, Sigpipe, nil, now)
	case len(l.stuck) >= maxStuck:
		l.record(q, NotAsked, NoObstacle, ErrStuck, now)
	default:
		l.asked[s] = a
		l.enqueue(a)
	}
}

// enqueue queues a question. Network namespaces are served in rotation, so that one with a large leak does not delay the
// others.
func (l *loop) enqueue(a *asking) {
	a.phase = queued
	l.queue.Push(a.subject.netns, a)
	l.queued++
}

func diesOfSigpipe(all []Owner) bool {
	for n := range all {
		if all[n].DiesOfSigpipe {
			return true
		}
	}
	return false
}

// withdraw cancels a question. If a job has it, that happens when the job returns it.
func (l *loop) withdraw(a *asking, now monotime.Time) {
	a.withdrawn = true
	switch a.phase {
	case queued: // arm skips it
		l.queued--
		l.answer(a, Cancelled, NoObstacle, nil, now)
	case waiting:
		if a.gone {
			return // it is due after quietTime, and must not be looked up before
		}
		a.due = now
		l.due.Fix(a.index)
	case beingArmed, beingLookedUp, stuckAt:
	}
}

// dispatch starts the jobs that are due, and returns the time until it must be called again.
func (l *loop) dispatch() time.Duration {
	now := l.clock.Now()
	l.checkStuck(now)
	wait := time.Hour
	soon := func(d time.Duration) { wait = min(wait, max(d, time.Millisecond)) }
	for l.hasRoom() && l.isLookupDue(now) {
		l.startLookups(now)
	}
	if l.due.Len() > 0 && l.hasRoom() {
		soon(l.due.First().due.Sub(now) - lookupWindow/2)
	}
	for len(l.postponed) > 0 && !now.Before(l.postponed[0].due) {
		l.recovered = append(l.recovered, l.postponed[0])
		l.postponed = l.postponed[1:]
	}
	if len(l.postponed) > 0 {
		soon(l.postponed[0].due.Sub(now))
	}
	for l.hasRoom() && len(l.recovered) > 0 {
		l.restore()
	}
	if len(l.obsolete) > 0 && l.hasRoom() && l.running[tidying] == 0 {
		l.start(newTidying(&l.p.env, l.obsolete))
		l.obsolete = nil
	}
	if !l.stopping {
		if d, ok := l.search(now); ok {
			soon(d)
		}
		if d, ok := l.arm(now); ok {
			soon(d)
		}
	}
	if len(l.jobs)+len(l.stuck) > 0 {
		soon(l.p.env.patience / 2) // for checkStuck
	}
	return wait
}

// restore starts a job for sockets of an earlier Prober.
func (l *loop) restore() {
	n := min(len(l.recovered), maxBatch)
	items := make([]*item, n)
	for at, h := range l.recovered[:n] {
		items[at] = &item{socket: h, armed: h.armed, isArmed: true, gone: h.gone}
	}
	l.recovered = l.recovered[n:]
	l.start(newRestoring(&l.p.env, items))
}

// hasRoom reports whether another job may start.
func (l *loop) hasRoom() bool {
	if len(l.stuck) >= maxStuck {
		return len(l.jobs) == 0 && len(l.stuck) < maxStuckRestoring
	}
	return len(l.jobs) < maxJobs
}

// isLookupDue reports whether any question's next lookup is due.
func (l *loop) isLookupDue(now monotime.Time) bool {
	return l.due.Len() > 0 && !now.Add(lookupWindow).Before(l.due.First().due)
}

// startLookups starts a job for the questions whose lookup is due.
func (l *loop) startLookups(now monotime.Time) {
	var items []*item
	for len(items) < maxBatch && l.isLookupDue(now) {
		a := l.due.Pop()
		a.phase = beingLookedUp
		items = append(items, &item{
			asking: a, socket: a.socket, armed: a.armed, baseline: a.baseline, isArmed: a.socket != nil,
			withdraw: a.withdrawn, overdue: a.until.Before(now), gone: a.gone,
		})
	}
	l.start(newLookup(&l.p.env, items))
}

// search starts a job for the sockets that have moved. It returns when the next one is due.
func (l *loop) search(now monotime.Time) (time.Duration, bool) {
	wait, later := time.Duration(0), false
	var items []*item
	for h := range l.missing {
		switch d := h.due.Sub(now); {
		case h.busy:
		case d > 0:
			if !later || d < wait {
				wait, later = d, true
			}
		case len(items) < maxBatch:
			items = append(items, &item{socket: h, armed: h.armed, isArmed: true, gone: h.gone})
		}
	}
	if len(items) == 0 {
		return wait, later
	}
	if d := l.pacer.Wait(now); d > 0 {
		return d, true
	}
	if !l.hasRoom() {
		return 0, false // until a job has finished
	}
	for _, i := range items {
		i.socket.busy = true
	}
	l.start(newSearching(l.ctx, &l.p.env, items))
	return 0, false
}

// armPause is how long arm waits for a larger batch if the rate limit applies.
const armPause = 20 * time.Millisecond

// arm starts a job for queued questions, as far as rate and budget allow. It returns when to call it again.
func (l *loop) arm(now monotime.Time) (time.Duration, bool) {
	if len(l.stuck) >= maxStuck {
		l.refuse(now)
	}
	if l.queue.Len() == 0 || !l.hasRoom() || len(l.recovered) > 0 || l.running[arming]+l.running[restoring] > 0 {
		return 0, false // until a job has finished
	}
	if d := l.pacer.Wait(now); d > 0 {
		return d, true
	}
	var items []*item
	limited := false
	for l.queue.Len() > 0 && len(items) < maxBatch && !limited {
		if limited = l.limiter.TokensAt(wall(now)) < 1; limited {
			break
		}
		_, next := l.queue.Pop(1)
		switch a := next[0]; {
		case a.withdrawn:
		case l.armedSockets[a.id] != nil: // not restored yet: its options are not the owner's
			l.queued--
			l.answer(a, NotAsked, OwnerUnknown, errNoDescriptor, now)
		default:
			l.limiter.AllowN(wall(now), 1)
			l.queued--
			a.phase = beingArmed
			items = append(items, &item{asking: a})
		}
	}
	if len(items) > 0 {
		l.start(newArming(&l.p.env, items))
	}
	return max(armPause, time.Second/time.Duration(l.p.config.MaxPerSecond)), limited
}

// refuse answers the queued questions, since further duplicates could block further threads.
func (l *loop) refuse(now monotime.Time) {
	for a := range l.queue.InTurn() {
		if !a.withdrawn {
			l.answer(a, NotAsked, NoObstacle, ErrStuck, now)
		}
	}
	l.queue, l.queued = rotation.New[netns.Identity, *asking](), 0
}

// start starts a job on a thread of its own.
func (l *loop) start(j *job) {
	l.jobs[j] = struct{}{}
	l.running[j.kind]++
	finished, stopped := l.finished, l.stopped
	go func() {
		j.cpu = pacing.MeasureCPU(j.run)
		j.cpu += time.Duration(j.opened) * openCost
		select {
		case finished <- j:
		case <-stopped:
		}
	}()
}

// stop cancels all questions and restores their sockets.
func (l *loop) stop() {
	l.stopping = true
	for _, m := range l.p.collect() {
		l.receive(m)
	}
	now := l.clock.Now()
	end := now.Add(stopTimeout)
	for _, a := range l.asked {
		if !a.withdrawn {
			l.withdraw(a, now)
		}
	}
	for now.Before(end) && (len(l.asked) > 0 || len(l.jobs) > 0 || len(l.obsolete) > 0) {
		wait := l.dispatch()
		l.report()
		l.await(nil, min(wait, end.Sub(now)))
		now = l.clock.Now()
	}
	for _, a := range l.asked {
		l.answer(a, Cancelled, NoObstacle, nil, now)
	}
	l.report()
}
