// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/state"
)

// survey lists the sockets of one network namespace. It has copies, so that it can work outside the loop.
type survey struct {
	clock          monotime.Clock
	netns          finder.Netns
	record         state.Record
	ns             registered // has only policies, limit and surplus
	findsOwners    bool
	canAsk         bool
	bySwitch       string // names the switches of its pods, in brackets; "" if none caps it
	candidates     []candidate
	views          []api.SocketView
	isUnregistered bool // surveyed by its path
	isUnknown      bool // unregistered between two calls of the loop
}

// survey copies the candidates of a network namespace into s, whose slices are reused.
func (l *loop) survey(id netns.Identity, s *survey) {
	*s = survey{clock: l.clock, candidates: s.candidates[:0], views: s.views[:0]}
	ns := l.registry.namespaces[id]
	if ns == nil {
		s.isUnknown = true
		return
	}
	s.netns, s.record, s.findsOwners = ns.Netns, ns.records[0], l.tracker.findsOwners
	s.canAsk = l.tracker.canAsk
	s.ns = registered{policies: ns.policies, limit: ns.limit, surplus: ns.surplus}
	if scoped := l.caps.scopedOf(ns); len(scoped) > 0 {
		s.bySwitch = " (by the switch of " + scopeNames(scoped) + ")"
	}
	s.candidates = slices.Grow(s.candidates, len(ns.candidates))
	for _, c := range ns.candidates {
		s.candidates = append(s.candidates, *c)
	}
}

// surveyUnregistered returns the survey of an unregistered network namespace.
func surveyUnregistered(clock monotime.Clock, path string, id netns.Identity) *survey {
	return &survey{
		clock: clock,
		netns: finder.Netns{Paths: []string{path}, Identity: id}, record: state.Record{Netns: state.Netns{Path: path}},
		ns: registered{limit: policy.Off}, isUnregistered: true,
	}
}

// list lists the sockets that the query covers, in no particular order.
func (s *survey) list(o finder.Opener, q api.SocketQuery) ([]api.SocketView, error) {
	if q.All || q.Netns != "" {
		return s.dump(o, q)
	}
	return s.fromMemory(q), nil
}

// fromMemory lists the candidates as they were at their last looks.
func (s *survey) fromMemory(q api.SocketQuery) []api.SocketView {
	at := s.clock.Now()
	s.views = slices.Grow(s.views, len(s.candidates))
	for i := range s.candidates {
		c := &s.candidates[i]
		sock := c.socket()
		v := s.view(c, &c.history, &sock, at)
		if !c.isConfirmed() {
			v.Verdict, v.Why = policy.Unknown, "restored from the previous reaper, not examined yet"
		}
		s.annotate(v, q, c)
	}
	return s.views
}

// annotate adds to the last view what the candidate waits for. It removes the view if the query does not cover it. c is
// nil for a socket that is not a candidate.
func (s *survey) annotate(v *api.SocketView, q api.SocketQuery, c *candidate) {
	if (v.Verdict == policy.AskingPeer || v.Verdict == policy.WouldAsk) && !s.canAsk {
		v.Verdict, v.Why = policy.WithinGrace, "the peer is due to be asked, but asking is disabled (--max-asks-per-second 0): only the grace counts"
	}
	if !q.Wants(v) {
		s.views = s.views[:len(s.views)-1]
		return
	}
	if v.Verdict == policy.WouldDestroy {
		v.Why += ", but the mode is " + v.Mode.String() + s.bySwitch
	}
	if c == nil {
		return
	}
	c.addPeer(v, s.clock.Now())
	switch {
	case v.Verdict == policy.Destroyable && c.step.phase == phaseOverBudget:
		v.Why += ", waiting for --max-destroys-per-second"
	case c.verdict.obstacle != prober.NoObstacle:
		v.Why += "; the peer cannot be asked: " + c.verdict.obstacle.String()
	}
}

// facts returns the facts about a candidate that no look shows; c may be nil.
func (s *survey) facts(c *candidate, at monotime.Time) (f policy.Facts) {
	if c != nil {
		f = c.facts(at)
	}
	f.OwnersKnown, f.OwnersComplete = f.OwnersKnown || !s.findsOwners, f.OwnersComplete || !s.findsOwners
	return f
}

// dump dumps the network namespace and judges every socket in it.
func (s *survey) dump(o finder.Opener, q api.SocketQuery) ([]api.SocketView, error) {
	conn, err := o.Open(s.netns)
	if err != nil {
		return nil, fmt.Errorf("dump sockets of %s: %w", s.netns.Paths[0], err)
	}
	defer conn.Close()
	known := make(map[uint64]*candidate, len(s.candidates))
	for i := range s.candidates {
		known[s.candidates[i].history.ID.Cookie()] = &s.candidates[i]
	}
	err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates, Info: true}, func(sock *inetdiag.Socket) error {
		s.judge(q, sock, known[sock.ID.Cookie()], s.clock.Now())
		return nil
	})
	if err != nil {
		return s.views, fmt.Errorf("dump sockets of %s: %w", s.netns.Paths[0], err)
	}
	return s.views, nil
}

// judge lists a dumped socket; c is its candidate, or nil.
func (s *survey) judge(q api.SocketQuery, sock *inetdiag.Socket, c *candidate, at monotime.Time) {
	var prev *policy.History
	if c != nil {
		prev = &c.history
	}
	h := policy.Follow(prev, policy.Look{At: at, Socket: sock})
	v := s.view(c, &h, sock, at)
	if s.isUnregistered {
		v.Verdict, v.Deadline = policy.NotRegistered, nil
		v.Why = policy.Explain(&policy.Verdict{Reason: policy.NotRegistered}, nil, &policy.History{}, sock, at)
	}
	s.annotate(v, q, c)
}

// view appends the view of a socket with its verdict; c is its candidate, or nil.
func (s *survey) view(c *candidate, h *policy.History, sock *inetdiag.Socket, at monotime.Time) *api.SocketView {
	verdict := s.ns.judge(h, sock, s.facts(c, at), at)
	if c != nil {
		verdict = sparedByOther(verdict, c.verdict.other, h, at)
	}
	verdict = withThreshold(verdict, c != nil && c.verdict.allowed && !s.ns.surplus.shrunk, true, at)
	s.views = append(s.views, api.SocketView{
		Pod: s.record.Pod, ContainerID: s.record.ContainerID, Netns: s.record.Netns.Path,
		Local: sock.ID.Local().String(), Peer: sock.ID.Peer().String(), State: sock.State,
		RQueue: sock.RQueue, WQueue: sock.WQueue, UID: sock.UID, Inode: sock.Inode, Cookie: sock.ID.Cookie(),
		Verdict: verdict.Reason, Mode: s.modeOf(&verdict), Why: policy.Explain(&verdict, s.ns.policies, h, sock, at),
	})
	v := &s.views[len(s.views)-1]
	if sock.State.HalfClosed() && sock.Inode != 0 {
		age, idle := api.Seconds(at.Sub(h.Since)), api.Seconds(at.Sub(h.IdleStart(policy.ClockProgress)))
		v.Age, v.Idle = &age, &idle
	}
	v.Role, v.Rule = h.Role, policy.Entry(&verdict, s.ns.policies)
	if s.canAsk && verdict.Act != policy.Off && verdict.AskAt != policy.Forever && !verdict.AskAt.IsZero() && sock.State.HalfClosed() {
		in := api.Seconds(max(verdict.AskAt.Sub(at), 0))
		v.AskIn = &in
	}
	if !verdict.Deadline.IsZero() {
		left := api.Seconds(verdict.Deadline.Sub(at))
		v.Deadline = &left
	}
	return v
}

// modeOf returns the mode of a socket's verdict, or of its network namespace if the verdict has none.
func (s *survey) modeOf(v *policy.Verdict) policy.Mode {
	if v.ActWhy == (policy.Why{}) {
		return s.ns.mode()
	}
	return v.Act
}

// oldestFirst returns the sockets by descending age; those without an age are last.
func oldestFirst(views []api.SocketView) []*api.SocketView {
	age := func(v *api.SocketView) api.Seconds {
		if v.Age == nil {
			return -1
		}
		return *v.Age
	}
	order := make([]*api.SocketView, len(views))
	for i := range views {
		order[i] = &views[i]
	}
	slices.SortFunc(order, func(a, b *api.SocketView) int {
		return cmp.Or(cmp.Compare(age(b), age(a)), cmp.Compare(a.Cookie, b.Cookie))
	})
	return order
}
