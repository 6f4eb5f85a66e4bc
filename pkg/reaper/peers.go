// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"maps"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
)

// peers returns how asking peers goes.
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

// notAskedOther is why peers were not asked where nothing keeps them from being asked another time, such as
// unacknowledged bytes, for which the kernel sends no probe.
const notAskedOther = "other"

// countQuestions counts questions by how they ended, also where there was none.
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

// questions counts questions by how they ended, or by why the peer was not asked.
func (l *loop) questionCounts() map[string]uint64 {
	v := l.peers()
	maps.Copy(v.Answers, v.NotAsked)
	return v.Answers
}

// GoneKey is what sockets are counted by that ended because their peer is gone.
type GoneKey struct {
	CountKey
	How string // "reset" or "timeout"
}

// goneKeys are those of the namespaces of the pods that are registered.
func goneKeys(pods []CountKey) []GoneKey {
	var keys []GoneKey
	for _, pod := range pods {
		for _, how := range []prober.Result{prober.Reset, prober.TimedOut} {
			keys = append(keys, GoneKey{pod, how.String()})
		}
	}
	return keys
}

// addPeer adds to a socket's view what is known of its peer.
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

// sparedNow returns the reason why a candidate is spared at a moment, by the verdict on its last look: policy.Destroyable
// or policy.WouldDestroy once its deadline has passed, whether or not there has been another look. asks says whether
// peers are asked.
func (c *candidate) sparedNow(asks bool, at monotime.Time) policy.Reason {
	r := c.verdict.reason
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
