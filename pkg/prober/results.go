// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// searchAfter returns the time between the previous attempt to find a socket and the nth search, false if there is none.
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

// remove removes a job from those at work.
func (l *loop) remove(j *job) {
	delete(l.jobs, j)
	l.running[j.kind]--
}

// checkStuck takes the remaining steps from each job whose thread is stuck.
func (l *loop) checkStuck(now monotime.Time) {
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
				l.finishItem(j, i, b, now)
			}
		}
		l.removeUnused(b)
	}
}

// abandon leaves an item to its stuck thread, which may still write to it.
func (l *loop) abandon(j *job, i *item, b *batch, now monotime.Time) {
	a := i.asking
	switch {
	case a == nil: // of restoring or searching: it stays busy until the thread returns
		return
	case j.kind == lookingUp && !j.stuck.duplicate: // no option is being changed
		l.wait(a, now.Add(time.Second))
		return
	case j.kind == arming && b != nil: // it may be armed
		l.addArmed(i.armed, b).busy = true
	case j.kind == lookingUp && a.socket != nil:
		a.socket.busy = true
	}
	a.phase = stuckAt
	l.answer(a, NotAsked, NoObstacle, ErrStuck, now)
}

// unstick handles the items of a stuck thread that has returned.
func (l *loop) unstick(j *job, now monotime.Time) {
	if j.record != "" && !j.batched { // no socket of it was armed
		l.obsolete = append(l.obsolete, j.record)
	}
	if j.kind == lookingUp && !j.stuck.duplicate {
		return // the questions have continued without it
	}
	for _, i := range j.stuck.items {
		h := i.socket
		if j.kind == arming && j.batched {
			h = l.armedSockets[i.asking.id]
		}
		if h != nil {
			l.release(h, !i.isArmed, now)
		}
	}
}

// finish handles the results of a job whose thread has returned.
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
		l.finishItem(j, i, b, now)
	}
	l.removeUnused(b)
}

// finishItem handles the result of one item.
func (l *loop) finishItem(j *job, i *item, b *batch, now monotime.Time) {
	if i.refused != nil {
		l.p.config.Log.Warn("cannot restore a keepalive option", "cookie", i.armed.cookie, "netns", i.armed.netns.Identity, "err", i.refused)
	}
	switch j.kind {
	case arming:
		l.finishArming(i, b, now)
	case lookingUp:
		l.finishLookup(i, now)
	case restoring, searching:
		i.socket.gone = i.gone
		if i.postponed {
			l.postponeRestoring(i.socket, now)
			return
		}
		if i.done {
			i.socket.searches++
			i.socket.ended = i.socket.ended || i.gone && j.kind == searching
			i.socket.refused = i.isRefused()
		}
		l.release(i.socket, i.done && !i.isArmed, now)
	case tidying:
	}
}

// isRefused reports whether the kernel refused to restore the socket.
func (i *item) isRefused() bool { return i.refused != nil || i.unreached }

// postponeRestoring postpones the restoration of a socket, without counting a failed attempt.
func (l *loop) postponeRestoring(h *armedSocket, now monotime.Time) {
	h.due = now.Add(quietTime)
	if _, ok := l.missing[h]; ok {
		h.busy = false
		return
	}
	l.postponed = append(l.postponed, h)
}

// maxRetries bounds the attempts to arm a socket whose owner changes an option at the same time.
const maxRetries = 3

func (l *loop) finishArming(i *item, b *batch, now monotime.Time) {
	a, q := i.asking, i.asking.question
	a.armed, a.baseline, a.began = i.armed, i.baseline, i.at
	switch {
	case i.isArmed:
		a.socket = l.addArmed(i.armed, b)
		a.until = a.began.Add(questionTimeout(a.baseline.probes, q.Interval))
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
	case i.usesOwn && i.result == 0:
		saved := &i.armed.saved
		a.until = a.began.Add(time.Duration(saved[keepIdle])*time.Second +
			questionTimeout(a.baseline.probes, time.Duration(saved[keepIntvl])*time.Second))
	default:
		l.answer(a, i.result, i.Obstacle, i.err, i.at)
		return
	}
	l.wait(a, a.began.Add(a.lookupDelay()))
}

// wait schedules the next lookup of a question: at once if it is withdrawn.
func (l *loop) wait(a *asking, due monotime.Time) {
	if a.withdrawn {
		due = l.clock.Now()
	}
	l.waitUntil(a, due)
}

// waitUntil schedules the next lookup of a question, even if it is withdrawn.
func (l *loop) waitUntil(a *asking, due monotime.Time) {
	a.phase, a.due = waiting, due
	l.due.Push(a)
}

// lookupDelay returns the time of the next lookup after the start of the question.
func (a *asking) lookupDelay() time.Duration {
	if a.socket == nil {
		return lookupDelay(a.lookups, 0, a.question.Interval)
	}
	return lookupDelay(a.lookups, a.armed.armed[keepIdle], a.question.Interval)
}

func (l *loop) finishLookup(i *item, now monotime.Time) {
	a := i.asking
	switch {
	case !i.done: // the thread got stuck before it reached this one
		l.wait(a, now)
		return
	case i.postponed:
		a.gone = i.gone
		l.waitUntil(a, now.Add(quietTime))
		return
	case i.result == 0:
		a.lookups++
		l.wait(a, a.began.Add(a.lookupDelay()))
		return
	}
	if h := i.socket; h != nil {
		h.armed = i.armed
		h.ended, h.gone, h.refused = i.gone && !i.seen, i.gone, i.isRefused()
		l.release(h, !i.isArmed, now)
	}
	l.answer(a, i.result, NoObstacle, i.err, i.at)
}

// addArmed adds an armed socket.
func (l *loop) addArmed(a armed, b *batch) *armedSocket {
	b.left++
	h := &armedSocket{armed: a, batch: b}
	l.armedSockets[a.identity] = h
	return h
}

// release handles an armed socket that a job returns. If it is not restored, it is searched for.
func (l *loop) release(h *armedSocket, restored bool, now monotime.Time) {
	h.busy = false
	after, again := searchAfter(h.searches)
	if !restored && again && (h.searches == 0 || !h.ended || h.refused) {
		h.due = now.Add(after)
		l.missing[h] = struct{}{}
		return
	}
	switch {
	case !restored && (!h.ended || h.refused):
		l.stats.Lost++
		h.batch.record = "" // it stays for the next reaper
		l.p.config.Log.Warn("cannot find a socket to restore its keepalive options", "cookie", h.cookie, "netns", h.netns.Identity)
	case restored:
		l.stats.Restored++
		if h.earlier {
			l.stats.Earlier++
		}
	}
	delete(l.missing, h)
	delete(l.armedSockets, h.identity)
	h.batch.left--
	l.removeUnused(h.batch)
}

// removeUnused removes the record of a batch once all its sockets are restored.
func (l *loop) removeUnused(b *batch) {
	if b != nil && b.left == 0 && b.record != "" {
		l.obsolete = append(l.obsolete, b.record)
		b.record = ""
	}
}
