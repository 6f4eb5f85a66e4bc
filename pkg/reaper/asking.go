// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/prober"
)

// Asker asks the peers of sockets, as prober.Prober does. Neither method may block. Each question gets one answer,
// through Reaper.Answered.
type Asker interface {
	Ask(questions []prober.Question)
	Cancel(id netns.Identity, cookie uint64)
}

// Answered handles the answers of the Asker. It returns once the loop has handled them, or Run has returned.
func (r *Reaper) Answered(answers []prober.Answer) {
	r.do(context.Background(), func(l *loop) { l.answered(answers, l.clock.Now()) })
}

// sendQuestions sends the Asker what has been decided since the last time.
func (l *loop) sendQuestions(at monotime.Time) {
	t := &l.tracker
	for _, c := range t.toCancel {
		if _, out := l.asked[c]; out {
			l.cfg.Asker.Cancel(c.ns.Identity, c.history.ID.Cookie())
		}
		if c.step.phase == phaseDropped {
			delete(l.asked, c)
		}
	}
	var questions []prober.Question
	for _, c := range t.toAsk {
		if _, out := l.asked[c]; out || c.step.phase != phaseAsking {
			continue
		}
		l.questions++
		l.asked[c] = l.questions
		questions = append(questions, l.question(c, l.questions, at))
	}
	t.toCancel, t.toAsk = t.toCancel[:0], t.toAsk[:0]
	if len(questions) > 0 {
		l.cfg.Asker.Ask(questions)
	}
}

// question returns the question to a candidate's peer.
func (l *loop) question(c *candidate, tag uint64, at monotime.Time) prober.Question {
	v := l.tracker.judge(c, at)
	return prober.Question{
		Netns: c.ns.Netns, ID: c.history.ID, State: c.history.State, Inode: c.shown.inode, Owners: c.owners.toAsk(),
		Count: v.ProbeCount, Interval: v.ProbeInterval, ProbeAfter: v.ProbeAfter, AskSigpipe: v.AskSigpipe, Tag: tag,
	}
}

// toAsk returns the owners as the Asker needs them.
func (h *holders) toAsk() []prober.Owner {
	if h == nil {
		return nil
	}
	list := make([]prober.Owner, len(h.list))
	for i, p := range h.list {
		list[i] = prober.Owner{PID: p.PID, DiesOfSigpipe: h.diesOfSigpipe[i]}
		if i < len(h.descriptors) {
			d := h.descriptors[i]
			list[i].FD, list[i].HasFD = d.FD, true
			if d.TID != p.PID {
				list[i].TID = d.TID
			}
		}
	}
	return list
}

// answered handles answers. That to a question of a candidate that was forgotten since is ignored.
func (l *loop) answered(answers []prober.Answer, at monotime.Time) {
	for i := range answers {
		a := &answers[i]
		ns := l.registry.namespaces[a.Question.Netns.Identity]
		if ns == nil {
			continue
		}
		c := ns.candidates[a.Question.ID.Cookie()]
		if tag, out := l.asked[c]; !out || tag != a.Question.Tag {
			continue
		}
		delete(l.asked, c)
		l.answer(c, a, at)
	}
}

// answer handles the answer about one candidate.
func (l *loop) answer(c *candidate, a *prober.Answer, at monotime.Time) {
	t := &l.tracker
	e := answerEvent(a)
	switch {
	case c.step.phase != phaseAsking: // the question was cancelled, and may be of an earlier idle time
	case e == eventPeerAlive:
		c.history.AddQuestion(c.step.since)
		c.history.PeerAlive, c.verdict.obstacle = a.At, prober.NoObstacle
	case e == eventNotAsked:
		c.history.AddQuestion(c.step.since) // it is tried again when the next question is due
		c.verdict.obstacle = a.Obstacle
	}
	t.changed = true
	if t.handle(c, e, at)&actRecord != 0 {
		l.recordAnswer(c, a, at)
	}
	if c.step.phase == phaseTimed {
		t.reconsider(c, at)
	}
}

// answerEvent returns the event that an answer is.
func answerEvent(a *prober.Answer) event {
	switch a.Result {
	case prober.Alive:
		return eventPeerAlive
	case prober.Reset, prober.TimedOut:
		return eventPeerGone
	case prober.Closed:
		return eventClosed
	case prober.NotAsked:
		if a.Obstacle != prober.NoObstacle || errors.Is(a.Err, prober.ErrNoProbe) {
			return eventNotAsked
		}
	}
	return eventCancelled // and asked again soon
}

// recordAnswer counts that a question's socket has ended, and writes it to the history.
func (l *loop) recordAnswer(c *candidate, a *prober.Answer, at monotime.Time) {
	s := c.socket()
	e := l.entry(c.ns, &c.history, &s, at)
	e.Outcome, e.Owners = api.Closed, c.holding(s.Inode)
	if a.Result != prober.Closed {
		e.Outcome, e.How, e.OwnerResult = api.PeerGone, a.Result.String(), ownerSees(s.State, a.Result)
		l.counts.PeerGone++
		l.tally.peerGone[GoneKey{CountKey{State: s.State, Namespace: c.ns.records[0].Pod.Namespace}, e.How}]++
	}
	l.history.add(e)
}

// ownerSees returns what the owner of a socket gets from it after its peer was found gone (docs/operate.md).
func ownerSees(st inetdiag.State, r prober.Result) string {
	closeWait := st == inetdiag.CloseWait
	switch {
	case closeWait && r == prober.Reset:
		return "recv: unread bytes, then EOF; send: EPIPE"
	case closeWait:
		return "recv: unread bytes, then EOF; send: ETIMEDOUT"
	case r == prober.Reset:
		return "recv: unread bytes, then ECONNRESET once, then EOF; send: EPIPE"
	}
	return "recv: ETIMEDOUT once, then EOF; send: EPIPE"
}
