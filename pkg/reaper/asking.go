// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"maps"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// Asker asks the peers of sockets, as prober.Prober does. Neither method may block. Each question gets one answer,
// through Reaper.Answered.
type Asker interface {
	Ask(questions []prober.Question)
	Cancel(id netns.Identity, cookie uint64)
}

// Answered takes in answers of the Asker. It returns when the loop has handled them, or Run has returned.
func (r *Reaper) Answered(answers []prober.Answer) {
	r.do(context.Background(), func(l *loop) { l.answered(answers, l.clock.Now()) })
}

// sendQuestions sends the new questions and cancellations to the Asker.
func (l *loop) sendQuestions(at monotime.Time) {
	t := &l.tracker
	for _, c := range t.toCancel {
		_, out := l.asked[c]
		switch {
		case out:
			l.cfg.Asker.Cancel(c.ns.Identity, c.history.ID.Cookie())
		case c.step.phase == phaseWithdrawn: // the question was not sent yet, so no answer follows
			t.handle(c, eventCancelled, at)
			t.handle(c, eventTimeCame, at)
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

// toAsk converts the owners for a question.
func (h *ownerSet) toAsk() []prober.Owner {
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

// answered handles answers. It ignores an answer about a candidate that has been dropped.
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
	case c.step.phase != phaseAsking: // the question was cancelled, and may belong to an earlier idle time
	case e == eventPeerAlive:
		c.history.AddQuestion(c.step.since)
		c.history.PeerAlive, c.verdict.obstacle = a.At, prober.NoObstacle
	case e == eventNotAsked:
		c.history.AddQuestion(c.step.since) // the next question is due at its usual time
		c.verdict.obstacle = a.Obstacle
	}
	t.changed = true
	v, wasWithdrawn := t.judge(c, at), c.step.phase == phaseWithdrawn
	if t.handleUntil(c, e, v.Again, at)&actRecord != 0 {
		l.recordAnswer(c, a, at)
	}
	switch {
	case c.step.phase != phaseTimed:
	case wasWithdrawn:
		t.handle(c, eventTimeCame, at) // the other end may wait for a look
	default:
		t.reconsider(c, at)
	}
}

// answerEvent returns the event of an answer.
func answerEvent(a *prober.Answer) event {
	switch a.Result {
	case prober.Alive:
		return eventPeerAlive
	case prober.Reset, prober.TimedOut:
		return eventPeerGone
	case prober.Closed:
		return eventClosed
	case prober.NotAsked:
		if a.Obstacle != prober.NoObstacle || errors.Is(a.Err, prober.ErrNoProbe) || errors.Is(a.Err, prober.ErrTooIdle) {
			return eventNotAsked
		}
	}
	return eventCancelled // the question is repeated soon
}

// recordAnswer counts a socket that was closed or reset during a question, and adds it to the history.
func (l *loop) recordAnswer(c *candidate, a *prober.Answer, at monotime.Time) {
	s := c.socket()
	e := l.entry(c.ns, &c.history, &s, at)
	e.Outcome, e.Owners = api.Closed, c.ownersOf(s.Inode)
	if a.Result != prober.Closed {
		e.Outcome, e.How, e.OwnerResult = api.PeerGone, a.Result.String(), ownerSees(s.State, a.Result)
		l.watchDescriptors(c, s.Inode, at)
		l.counts.PeerGone++
		l.tally.peerGone[GoneKey{CountKey{State: s.State, Namespace: c.ns.records[0].Pod.Namespace}, e.How}]++
	}
	l.history.add(e)
}

// ownerSees returns the results of the owner's next system calls after its peer was found gone (docs/operate.md).
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

// peers returns the state and the figures of asking peers.
func (l *loop) peers() api.PeersView {
	v := api.PeersView{Answers: make(map[string]uint64), NotAsked: make(map[string]uint64)}
	if l.tracker.canAsk {
		v.PerSecond = l.cfg.MaxAsksPerSecond
	}
	if l.cfg.Asking == nil {
		return v
	}
	s := l.cfg.Asking()
	countQuestions(&v, s)
	v.Queued, v.Asking, v.Missing, v.Stuck, v.Suspended = s.Queued, s.Asking, s.Missing, s.Stuck, s.Suspended
	v.Restored, v.Earlier, v.Unreadable, v.Lost, v.CPU = s.Restored, s.Earlier, s.Unreadable, s.Lost, api.Seconds(s.CPU)
	for errno, n := range s.Refused {
		if v.Refused == nil {
			v.Refused = make(map[string]uint64)
		}
		v.Refused[errnoName(errno)] += n
	}
	return v
}

// notAskedOther counts peers that were not asked for a temporary reason, such as unacknowledged bytes, with which the
// kernel sends no probe.
const notAskedOther = "other"

// countQuestions adds the number of questions for each result, zeros included.
func countQuestions(v *api.PeersView, s prober.Stats) {
	for _, r := range prober.Results() {
		if r != prober.NotAsked {
			v.Answers[r.String()] = s.Answers[r]
		}
	}
	other := s.Answers[prober.NotAsked]
	for _, o := range prober.Obstacles() {
		v.NotAsked[o.String()] = s.Obstacles[o]
		other -= s.Obstacles[o]
	}
	v.NotAsked[notAskedOther] = other
}

// questionCounts returns the number of questions by result, or by why the peer was not asked.
func (l *loop) questionCounts() map[string]uint64 {
	v := l.peers()
	maps.Copy(v.Answers, v.NotAsked)
	return v.Answers
}

// GoneKey has the labels of the sockets whose peer is gone.
type GoneKey struct {
	CountKey
	How string // "reset" or "timeout"
}

// goneKeys returns every GoneKey of the registered pods.
func goneKeys(pods []CountKey) []GoneKey {
	var keys []GoneKey
	for _, pod := range pods {
		for _, how := range []prober.Result{prober.Reset, prober.TimedOut} {
			keys = append(keys, GoneKey{pod, how.String()})
		}
	}
	return keys
}

// addPeer adds the questions to a socket's peer, and their results, to its view.
func (c *candidate) addPeer(v *api.SocketView, at monotime.Time) {
	h := &c.history
	v.Questions = int(h.Asks)
	since := func(t monotime.Time) *api.Seconds {
		s := api.Seconds(at.Sub(t))
		return &s
	}
	if !h.PeerAlive.IsZero() {
		v.PeerAlive = since(h.PeerAlive)
	}
	if c.step.phase == phaseAsking {
		v.PeerAsked = since(c.step.since)
	}
	v.NotAsked = c.verdict.obstacle.String()
}

// sparedNow returns why a candidate is spared at a moment, by the verdict on its last look. Once its deadline has passed
// that is policy.Destroyable or policy.WouldDestroy, even if no look has followed. asks reports whether peers are asked.
func (c *candidate) sparedNow(asks bool, at monotime.Time) policy.Reason {
	r := c.verdict.reason
	if r == policy.WouldAsk && !asks {
		r = policy.AskingPeer // the mode is not what prevents the question
	}
	switch r {
	case policy.WithinGrace, policy.Progressing, policy.PeerAlive, policy.AskingPeer, policy.UnreadData, policy.UnackedData, policy.PeerSpared:
		switch {
		case c.isOverdue(at) && c.ns.mode() == policy.Destroy:
			return policy.Destroyable
		case c.isOverdue(at):
			return policy.WouldDestroy
		case r == policy.AskingPeer && !asks:
			return policy.WithinGrace
		}
	}
	return r
}
