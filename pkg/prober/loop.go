// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/internal/rotation"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

const (
	// maxJobs is how many threads work at once, without the stuck ones.
	maxJobs = 4
	// maxStuck is how many stuck threads end the asking. Restoring goes on, on one thread at a time, until
	// maxStuckRestoring.
	maxStuck          = 4
	maxStuckRestoring = 16
	// lookupWindow is how much too early a lookup may be, so that it shares a batch.
	lookupWindow = 5 * time.Millisecond
	// stopPatience bounds how long the end of Run waits for its jobs.
	stopPatience = 3 * time.Second
)

// searchAfter returns how long after a socket was missed its nth search comes, false if there is no other.
func searchAfter(n int) (time.Duration, bool) {
	switch n {
	case 0:
		return time.Second, true
	case 1:
		return 5 * time.Second, true
	case 2:
		return 30 * time.Second, true
	case 3:
		return 3 * time.Minute, true
	case 4:
		return 20 * time.Minute, true
	}
	return 0, false
}

// phase is how far a question has come.
type phase uint8

const (
	queued phase = iota
	beingArmed
	waiting // for the time of the next lookup
	beingLookedUp
	stuckAt // a thread that may never return
)

// asking is a question.
type asking struct {
	question  *Question
	id        identity
	subject   subject
	phase     phase
	withdrawn bool
	gone      bool // a lookup has not found the socket, and its owner gets time to close it
	retries   int  // because its owner changed an option between two reads

	held     *held // nil if the options are the owner's
	armed    armed // where its descriptor was found, also if the options are the owner's
	baseline baseline
	began    monotime.Time
	until    monotime.Time
	lookups  int // so far
	due      monotime.Time
	index    int // in the heap
}

// held is a socket whose options are a question's.
type held struct {
	armed
	batch    *batch
	earlier  bool // it was armed by an earlier Prober
	ended    bool // sock_diag shows it no more
	gone     bool // the same, and its owner had time to close it since
	searches int
	due      monotime.Time // of the next search, or of the restoration that was put off
	busy     bool          // a job has it
}

// batch is a record and how many of its sockets are not restored yet.
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

	asked     map[subject]*asking
	queue     *rotation.Queue[netns.Identity, *asking] // with withdrawn ones, which are answered already
	queued    int                                      // those of queue that are not
	due       dueHeap
	held      map[identity]*held
	missing   map[*held]struct{} // those of held to search for
	recovered []*held            // those of held that an earlier Prober left, until a job has them
	putOff    []*held            // those of them that a job has put off, the one due first in front
	obsolete  []string           // records to remove

	jobs     map[*job]struct{} // at work
	stuck    map[*job]struct{}
	finished chan *job
	stopped  chan struct{} // closed when nothing reads finished any more
	running  [tidying + 1]int
	stopping bool

	answers []Answer
	stats   Stats
}

func newLoop(ctx context.Context, p *Prober) *loop {
	now := p.config.Clock.Now()
	return &loop{
		ctx: ctx, p: p, clock: p.config.Clock,
		pacer:   pacing.New(p.config.Budget, now),
		limiter: rate.NewLimiter(rate.Limit(p.config.MaxPerSecond), max(1, p.config.MaxPerSecond/10)),
		asked:   make(map[subject]*asking),
		queue:   rotation.New[netns.Identity, *asking](),
		held:    make(map[identity]*held),
		missing: make(map[*held]struct{}),
		jobs:    make(map[*job]struct{}), stuck: make(map[*job]struct{}),
		finished: make(chan *job), stopped: make(chan struct{}),
		stats: Stats{
			Answers: make(map[Result]uint64), Obstacles: make(map[Obstacle]uint64), Refused: make(map[unix.Errno]uint64),
		},
	}
}

// wall makes a time of package time of one of ours, for the limiter.
func wall(t monotime.Time) time.Time { return time.Unix(0, int64(t)) }

// recover reads what an earlier Prober left.
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
			if _, ok := l.held[id]; ok { // two records have it: the values that are saved are the same
				continue
			}
			b.left++
			h := &held{armed: e.armed[n], batch: b, earlier: true, busy: true}
			l.held[id] = h
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

// await waits for something to do, for at most wait.
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

// report hands answers and figures out.
func (l *loop) report() {
	l.stats.Queued, l.stats.Asking = l.queued, len(l.asked)-l.queued
	l.stats.Armed, l.stats.Missing = len(l.held), len(l.missing)
	l.stats.Stuck = len(l.stuck)
	if suspended := len(l.stuck) >= maxStuck; suspended != l.stats.Suspended {
		l.stats.Suspended = suspended
		if suspended {
			l.p.config.Log.Warn("closing duplicates of descriptors blocks threads: peers are not asked", "threads", len(l.stuck))
		} else {
			l.p.config.Log.Info("threads are not blocked any more: peers are asked again")
		}
	}
	l.p.publish(l.stats)
	if answers := l.answers; len(answers) > 0 {
		l.answers = nil
		l.p.config.Answered(answers)
	}
}

// answer ends a question.
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

// enqueue queues a question. Its network namespace has its turn, so that one with a great leak does not keep the others
// waiting.
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

// withdraw ends a question before its answer.
func (l *loop) withdraw(a *asking, now monotime.Time) {
	a.withdrawn = true
	switch a.phase {
	case queued: // arm leaves it out
		l.queued--
		l.answer(a, Cancelled, NoObstacle, nil, now)
	case waiting:
		if a.gone {
			return // its time comes soon, and not before
		}
		a.due = now
		heap.Fix(&l.due, a.index)
	case beingArmed, beingLookedUp, stuckAt: // when the job has it no more
	}
}

// dispatch starts what is due, and returns how long nothing else will be.
func (l *loop) dispatch() time.Duration {
	now := l.clock.Now()
	l.watch(now)
	wait := time.Hour
	soon := func(d time.Duration) { wait = min(wait, max(d, time.Millisecond)) }
	for l.hasRoom() && l.due.isDue(now) {
		l.startLookups(now)
	}
	if len(l.due) > 0 && l.hasRoom() {
		soon(l.due[0].due.Sub(now) - lookupWindow/2)
	}
	for len(l.putOff) > 0 && !now.Before(l.putOff[0].due) {
		l.recovered = append(l.recovered, l.putOff[0])
		l.putOff = l.putOff[1:]
	}
	if len(l.putOff) > 0 {
		soon(l.putOff[0].due.Sub(now))
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
		soon(l.p.env.patience / 2) // watch
	}
	return wait
}

// restore starts a job for sockets that an earlier Prober left.
func (l *loop) restore() {
	n := min(len(l.recovered), maxBatch)
	items := make([]*item, n)
	for at, h := range l.recovered[:n] {
		items[at] = &item{held: h, armed: h.armed, ours: true, gone: h.gone}
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

// startLookups starts a job for the questions whose time has come.
func (l *loop) startLookups(now monotime.Time) {
	var items []*item
	for len(items) < maxBatch && l.due.isDue(now) {
		a := heap.Pop(&l.due).(*asking)
		a.phase = beingLookedUp
		items = append(items, &item{
			asking: a, held: a.held, armed: a.armed, baseline: a.baseline, ours: a.held != nil,
			withdraw: a.withdrawn, overdue: a.until.Before(now), gone: a.gone,
		})
	}
	l.start(newLookup(&l.p.env, items))
}

// search starts a job for the sockets that are not where they were.
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
			items = append(items, &item{held: h, armed: h.armed, ours: true, gone: h.gone})
		}
	}
	if len(items) == 0 {
		return wait, later
	}
	if d := l.pacer.Wait(now); d > 0 {
		return d, true
	}
	if !l.hasRoom() {
		return 0, false // when a job has finished
	}
	for _, i := range items {
		i.held.busy = true
	}
	l.start(newSearching(l.ctx, &l.p.env, items))
	return 0, false
}

// armPause is how long arm waits for more to fit into a batch where the rate is what bounds it.
const armPause = 20 * time.Millisecond

// arm starts a job for the questions in the queue, as far as rate and budget allow. It returns when it would do more.
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
		case l.held[a.id] != nil: // not restored yet, so that its options are not the owner's
			l.queued--
			l.answer(a, NotAsked, OwnerUnknown, errNotThere, now)
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

// refuse answers the questions in the queue: no more duplicates are risked.
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

// remove takes a job from those at work.
func (l *loop) remove(j *job) {
	delete(l.jobs, j)
	l.running[j.kind]--
}

// watch takes the rest of its work away from each thread that is stuck.
func (l *loop) watch(now monotime.Time) {
	for j := range l.stuck {
		j.interrupt()
	}
	for j := range l.jobs {
		if !j.isStuck(now) {
			continue
		}
		n, ok := j.take()
		if !ok {
			continue // it has just finished
		}
		l.remove(j)
		l.stuck[j] = struct{}{}
		j.interrupt()
		j.stuck = &step{}
		if n >= 0 {
			j.stuck = &j.steps[n]
		}
		lost := make(map[*item]struct{}, len(j.stuck.items))
		for _, i := range j.stuck.items {
			lost[i] = struct{}{}
		}
		var b *batch
		if j.kind == arming && n > j.writes && j.record != "" {
			b, j.batched = &batch{record: j.record}, true
		}
		for _, i := range j.items {
			if _, ok := lost[i]; ok {
				l.abandon(j, i, b, now)
			} else {
				l.conclude(j, i, b, now)
			}
		}
		l.removeUnused(b)
	}
}

// abandon leaves an item to the thread that is stuck with it, which may still write to it.
func (l *loop) abandon(j *job, i *item, b *batch, now monotime.Time) {
	a := i.asking
	switch {
	case a == nil: // of restoring or searching: it stays held, and busy until the thread returns
		return
	case j.kind == lookingUp && !j.stuck.duplicate: // nothing was changed
		l.wait(a, now.Add(time.Second))
		return
	case j.kind == arming && b != nil: // it may be armed
		l.hold(i.armed, b).busy = true
	case j.kind == lookingUp && a.held != nil:
		a.held.busy = true
	}
	a.phase = stuckAt
	l.answer(a, NotAsked, NoObstacle, ErrStuck, now)
}

// unstick takes what a thread leaves that was stuck and has returned.
func (l *loop) unstick(j *job, now monotime.Time) {
	if j.record != "" && !j.batched { // nothing of it was armed
		l.obsolete = append(l.obsolete, j.record)
	}
	if j.kind == lookingUp && !j.stuck.duplicate {
		return // the questions have gone on
	}
	for _, i := range j.stuck.items {
		h := i.held
		if j.kind == arming && j.batched {
			h = l.held[i.asking.id]
		}
		if h != nil {
			l.letGo(h, !i.ours, now)
		}
	}
}

// finish takes the results of a job whose thread has returned.
func (l *loop) finish(j *job) {
	now := l.clock.Now()
	l.pacer.Spend(now, j.cpu)
	l.stats.CPU += j.cpu
	if _, ok := l.stuck[j]; ok {
		delete(l.stuck, j)
		l.unstick(j, now)
		return
	}
	l.remove(j)
	var b *batch
	if j.record != "" {
		b = &batch{record: j.record}
	}
	for _, i := range j.items {
		l.conclude(j, i, b, now)
	}
	l.removeUnused(b)
}

// conclude takes the result of one item.
func (l *loop) conclude(j *job, i *item, b *batch, now monotime.Time) {
	if i.refused != nil {
		l.p.config.Log.Warn("kernel refused to restore a keepalive option", "cookie", i.armed.cookie, "netns", i.armed.netns.Identity, "err", i.refused)
	}
	switch j.kind {
	case arming:
		l.concludeArming(i, b, now)
	case lookingUp:
		l.concludeLookup(i, now)
	case restoring, searching:
		i.held.gone = i.gone
		if i.putOff {
			l.putOffRestoring(i.held, now)
			return
		}
		if i.done {
			i.held.searches++
			i.held.ended = i.held.ended || i.gone && j.kind == searching
		}
		l.letGo(i.held, i.done && !i.ours, now)
	case tidying:
	}
}

// putOffRestoring has a socket restored later: it stays where it was, and is not counted as missed.
func (l *loop) putOffRestoring(h *held, now monotime.Time) {
	h.due = now.Add(quietTime)
	if _, ok := l.missing[h]; ok {
		h.busy = false
		return
	}
	l.putOff = append(l.putOff, h)
}

// maxRetries bounds how often a socket is read again because its owner has just changed an option.
const maxRetries = 3

func (l *loop) concludeArming(i *item, b *batch, now monotime.Time) {
	a, q := i.asking, i.asking.question
	a.armed, a.baseline, a.began = i.armed, i.baseline, i.at
	switch {
	case i.ours:
		a.held = l.hold(i.armed, b)
		a.until = a.began.Add(patience(a.baseline.probes, q.Interval))
	case a.withdrawn:
		l.answer(a, Cancelled, NoObstacle, nil, now)
		return
	case !i.done, i.late, i.changed && a.retries < maxRetries:
		if i.changed {
			a.retries++
		}
		l.enqueue(a)
		return
	case i.changed:
		l.answer(a, NotAsked, NoObstacle, errors.New("its owner keeps changing the socket's keepalive options"), now)
		return
	case i.own && i.result == 0:
		saved := &i.armed.saved
		a.until = a.began.Add(time.Duration(saved[keepIdle])*time.Second +
			patience(a.baseline.probes, time.Duration(saved[keepIntvl])*time.Second))
	default:
		l.answer(a, i.result, i.Obstacle, i.err, i.at)
		return
	}
	l.wait(a, a.began.Add(a.lookupDelay()))
}

// wait puts a question off until its next lookup.
func (l *loop) wait(a *asking, due monotime.Time) {
	if a.withdrawn {
		due = l.clock.Now()
	}
	l.waitUntil(a, due)
}

// waitUntil puts a question off, also one that is withdrawn.
func (l *loop) waitUntil(a *asking, due monotime.Time) {
	a.phase, a.due = waiting, due
	heap.Push(&l.due, a)
}

// lookupDelay returns how long after the start of the question its next lookup comes.
func (a *asking) lookupDelay() time.Duration {
	if a.held == nil {
		return lookupDelay(a.lookups, 0, a.question.Interval)
	}
	return lookupDelay(a.lookups, a.armed.armed[keepIdle], a.question.Interval)
}

func (l *loop) concludeLookup(i *item, now monotime.Time) {
	a := i.asking
	switch {
	case !i.done: // the thread was stuck before it came to this one
		l.wait(a, now)
		return
	case i.putOff:
		a.gone = i.gone
		l.waitUntil(a, now.Add(quietTime))
		return
	case i.result == 0:
		a.lookups++
		l.wait(a, a.began.Add(a.lookupDelay()))
		return
	}
	if h := i.held; h != nil {
		h.armed = i.armed
		h.ended, h.gone = !i.seen, i.gone
		l.letGo(h, !i.ours, now)
	}
	l.answer(a, i.result, NoObstacle, i.err, i.at)
}

// hold keeps the options that a socket had.
func (l *loop) hold(a armed, b *batch) *held {
	b.left++
	h := &held{armed: a, batch: b}
	l.held[a.identity] = h
	return h
}

// letGo is called when no job has the socket any more. If it is not restored, the prober searches for it.
func (l *loop) letGo(h *held, restored bool, now monotime.Time) {
	h.busy = false
	after, again := searchAfter(h.searches)
	if !restored && again && (h.searches == 0 || !h.ended) {
		h.due = now.Add(after)
		l.missing[h] = struct{}{}
		return
	}
	switch {
	case !restored && !h.ended:
		l.stats.Lost++
		l.p.config.Log.Warn("socket not found: its keepalive options are not restored", "cookie", h.cookie, "netns", h.netns.Identity)
	case restored:
		l.stats.Restored++
		if h.earlier {
			l.stats.Earlier++
		}
	}
	delete(l.missing, h)
	delete(l.held, h.identity)
	h.batch.left--
	l.removeUnused(h.batch)
}

// removeUnused removes the record of a batch of which nothing is held.
func (l *loop) removeUnused(b *batch) {
	if b != nil && b.left == 0 && b.record != "" {
		l.obsolete = append(l.obsolete, b.record)
		b.record = ""
	}
}

// stop ends all questions and restores their sockets.
func (l *loop) stop() {
	l.stopping = true
	for _, m := range l.p.collect() {
		l.receive(m)
	}
	now := l.clock.Now()
	end := now.Add(stopPatience)
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

// dueHeap are the questions that wait for their next lookup, the one due first at the top.
type dueHeap []*asking

func (h dueHeap) isDue(now monotime.Time) bool {
	return len(h) > 0 && !now.Add(lookupWindow).Before(h[0].due)
}

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	a := x.(*asking)
	a.index = len(*h)
	*h = append(*h, a)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	return a
}
