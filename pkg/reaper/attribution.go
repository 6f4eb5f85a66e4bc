// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// attribution looks up the owners of sockets: nothing is destroyed, and no peer asked, before that. It does so ahead of
// time, for all at once that are due soon, so that few wait for it. The loop owns it, and waits for none of its looks.
type attribution struct {
	source     owners.Resolver
	conditions func(ctx context.Context, pids []int) (map[int]owners.Condition, error)
	pacer      *finder.Pacer
	looks      chan *ownersLook // for the attributor
	looked     chan *ownersLook // by it

	busy  bool          // the attributor has a look
	next  monotime.Time // no look before: there is nothing to spend
	scan  monotime.Time // nor a search for what is due soon: there was nothing
	ahead time.Duration // how far ahead it looks
	wide  monotime.Time // of the last look at all processes that found nobody for some socket
	blind int           // how many looks in a row found nobody, of whom some may not be seen
}

// ownersLook is one look for the holders of sockets.
type ownersLook struct {
	query      owners.Query
	candidates []*candidate // whose owners are asked for
	inodes     []uint32     // that each had then
	ends       []*candidate // of these, the other ends of connections

	found      map[uint32][]owners.Process
	conditions map[int]owners.Condition // of their processes
	err        error
	cpu        time.Duration
}

// holders are the owners of some candidates, as they were found.
type holders struct {
	list  []owners.Process // shared with the journal and its readers: not to be changed
	facts []policy.Owner   // the same, as the judgement knows them
	// descriptors are the same with TID and FD; nil if they were not looked up.
	descriptors []owners.Process

	frozenTime time.Duration // for how long all of them have been frozen together, at most
	at         monotime.Time
	until      monotime.Time // they count as known
}

func newHolders(k *ownersLook, list []owners.Process, at monotime.Time, lifetime time.Duration) *holders {
	h := &holders{list: list, at: at, until: at.Add(lifetime)}
	if k.query.Descriptors {
		h.descriptors, h.list = list, slices.Clone(list)
		for i := range h.list {
			h.list[i].TID, h.list[i].FD = 0, 0
		}
	}
	for i, p := range list {
		c := k.conditions[p.PID]
		h.facts = append(h.facts, policy.Owner{
			Command: p.Command, Frozen: c.Pause == owners.Frozen || c.Pause == owners.Stopped,
			DiesOfSigpipe: c.Sigpipe != owners.SigpipeIgnored,
		})
		if i == 0 || c.FrozenTime < h.frozenTime {
			h.frozenTime = c.FrozenTime
		}
	}
	return h
}

// allFrozen reports whether no owner can act.
func (h *holders) allFrozen() bool {
	return h != nil && len(h.facts) > 0 && !slices.ContainsFunc(h.facts, func(o policy.Owner) bool { return !o.Frozen })
}

// thawed leaves out of a candidate's idle time what its owners have been frozen of it. The kernel counts that for each
// cgroup, before this connection too; where it does not, an owner that was found frozen and runs again has the whole
// patience before it.
func (c *candidate) thawed(before *holders, at monotime.Time) {
	idle := at.Sub(c.history.IdleStart(policy.ClockProgress))
	frozen := c.owners.frozenTime - c.history.Frozen
	if before.allFrozen() {
		frozen = idle
	}
	c.history.AddFrozen(min(frozen, idle))
}

const (
	// minAhead is how far ahead of a deadline it is looked who holds the socket; further where looks are so
	// expensive that the next one has to wait for longer, but no further than maxAhead.
	minAhead, maxAhead = 10 * time.Second, 2 * time.Minute
	// freshFor is how long what was found counts.
	freshFor = 30 * time.Second
	// atOnceLook bounds how many sockets a look is for.
	atOnceLook = 8192
	// wideEvery is how seldom all processes are looked at for sockets that may have no holder any more: those
	// that were closed since the last sweep, mostly.
	wideEvery = 2 * time.Minute
	// blindLooks is how many looks have to find nobody before that is said.
	blindLooks = 3
)

func newAttribution(source owners.Resolver, budget float64, now monotime.Time) attribution {
	a := attribution{
		source: source, ahead: minAhead, looks: make(chan *ownersLook, 1), looked: make(chan *ownersLook, 1),
	}
	if budget > 0 {
		a.pacer = finder.NewPacer(budget, now)
	}
	return a
}

// work is the attributor: it looks, until ctx ends.
func (a *attribution) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-a.looks:
			k.cpu = finder.MeasureCPU(func() { a.find(ctx, k) })
			a.looked <- k // has room: there is only this one
		}
	}
}

// find looks for the owners, and for what they can do about their sockets.
func (a *attribution) find(ctx context.Context, k *ownersLook) {
	k.found, k.err = a.source.Find(ctx, k.query)
	if a.conditions == nil {
		return
	}
	seen := make(map[int]bool)
	var pids []int
	for _, list := range k.found {
		for _, p := range list {
			if !seen[p.PID] {
				seen[p.PID] = true
				pids = append(pids, p.PID)
			}
		}
	}
	conditions, err := a.conditions(ctx, pids)
	k.conditions, k.err = conditions, errors.Join(k.err, err)
}

// attribute has the attributor look if there is something to look for. It is called whenever the loop has
// done something, and at least once a second.
func (l *loop) attribute(at monotime.Time) {
	a := &l.attribution
	if a.source == nil || a.busy || at.Before(a.next) {
		return
	}
	if l.tracker.unowned.Len() == 0 {
		next, some := l.tracker.next()
		soon := some && next.Before(at.Add(a.ahead)) || l.tracker.fresh.Len()+l.tracker.held.Len() > 0
		if !soon || at.Before(a.scan) {
			return
		}
	}
	k, urgent := l.ownersLook(at)
	if !urgent {
		a.scan = at.Add(a.ahead / 10)
		return
	}
	a.busy = true
	a.looks <- k // has room: there is only this one
}

// ownersLook makes a look of all that lacks owners. It is urgent when a candidate waits for it, or is due within half
// of the time that it looks ahead.
func (l *loop) ownersLook(at monotime.Time) (k *ownersLook, urgent bool) {
	k = &ownersLook{query: owners.Query{
		Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: owners.Inside,
	}}
	a := &l.attribution
	if a.wide.IsZero() || at.Sub(a.wide) >= wideEvery {
		k.query.Scope = owners.Beyond
	}
	for l.tracker.unowned.Len() > 0 && len(k.candidates) < atOnceLook {
		_, list := l.tracker.unowned.Pop(atOnceLook - len(k.candidates))
		for _, c := range list {
			if c.step.phase == phaseUnowned {
				l.askOwners(k, c, at)
				urgent = true
			}
		}
	}
	until, soon := at.Add(a.ahead), at.Add(a.ahead/2)
	take := func(c *candidate) bool {
		if l.toBeOwned(c, at, until) {
			l.askOwners(k, c, at)
			urgent = urgent || c.verdict.deadline.Before(soon)
		}
		return len(k.candidates) < atOnceLook
	}
	visited := 0
	for _, queue := range []*candidateQueue{l.tracker.held, l.tracker.fresh} {
		for c := range queue.InTurn() {
			if visited++; !take(c) || visited >= atOnceLook { // a queue may hold all candidates that there are
				break
			}
		}
	}
	for c := range l.tracker.upcoming(until) {
		if !take(c) {
			break
		}
	}
	k.query.Descriptors = len(k.candidates) <= maxDescriptors
	return k, urgent
}

// maxDescriptors is for how many sockets a look returns the descriptors too: they share no memory.
const maxDescriptors = 256

func (k *ownersLook) ask(c *candidate) {
	k.query.Inodes[c.shown.inode], k.query.Netns[c.ns.Identity.Inode] = struct{}{}, struct{}{}
	k.candidates, k.inodes = append(k.candidates, c), append(k.inodes, c.shown.inode)
}

// askOwners asks for the owners of a candidate, and for those of the other end of its connection, who may be frozen.
func (l *loop) askOwners(k *ownersLook, c *candidate, at monotime.Time) {
	k.ask(c)
	end := c.end()
	for o := range l.tracker.ends.opposite(&end) {
		known := o.owners != nil && at.Before(o.owners.until)
		if o != c && !known && o.shown.inode != 0 && o.step.phase != phaseUnowned {
			k.ask(o)
			k.ends = append(k.ends, o)
		}
	}
}

// toBeOwned reports whether it should be looked who holds a candidate: nothing but time keeps it until then
// from being destroyed, or noted as one that would be.
func (l *loop) toBeOwned(c *candidate, at, until monotime.Time) bool {
	switch c.verdict.reason {
	case policy.WithinGrace, policy.Progressing, policy.PeerAlive, policy.Destroyable, policy.WouldDestroy:
	default:
		return false
	}
	known := c.owners != nil && at.Before(c.owners.until)
	return !known && c.step.phase != phaseForbidden && c.step.phase != phaseUnowned && c.shown.inode != 0 &&
		!c.verdict.deadline.IsZero() && c.verdict.deadline.Before(until)
}

// attributed takes in what a look found.
func (l *loop) attributed(k *ownersLook, at monotime.Time) {
	a := &l.attribution
	a.busy = false
	if a.pacer != nil {
		a.pacer.Spend(at, k.cpu)
		wait := a.pacer.Wait(at)
		a.next, a.ahead = at.Add(wait), min(max(minAhead, 2*wait), maxAhead)
	}
	if k.query.Scope == owners.Beyond && len(k.found) < len(k.query.Inodes) {
		a.wide = at
	}
	if k.err != nil {
		l.log.Debug("look for the owners of sockets", "sockets", len(k.query.Inodes), "found", len(k.found), "error", k.err)
	}
	l.noticeBlindness(k)
	lifetime := max(freshFor, a.ahead)
	none := newHolders(k, nil, at, lifetime)
	shared := map[*owners.Process]*holders{}
	for i, c := range k.candidates {
		if c.shown.inode != k.inodes[i] {
			if c.step.phase == phaseUnowned {
				l.tracker.unowned.Push(c.ns, c) // it was accepted since
			}
			continue
		}
		before := c.owners
		c.owners = none
		if list := k.found[c.shown.inode]; len(list) > 0 {
			if shared[&list[0]] == nil {
				shared[&list[0]] = newHolders(k, list, at, lifetime)
			}
			c.owners = shared[&list[0]]
		}
		c.thawed(before, at)
	}
	for _, c := range k.ends { // first: the others are judged by what is known of these too
		l.tracker.reconsiderIfJudged(c, at)
	}
	for i, c := range k.candidates {
		if c.shown.inode == k.inodes[i] && c.step.phase == phaseUnowned {
			l.tracker.handle(c, eventOwnersLookedUp, at)
			l.tracker.reconsider(c, at)
		}
	}
}

// noticeBlindness warns, once, when the owners of nothing can be found.
func (l *loop) noticeBlindness(k *ownersLook) {
	a := &l.attribution
	switch {
	case a.blind == blindLooks: // it was said
	case len(k.found) > 0:
		a.blind = 0
	case k.err != nil:
		if a.blind++; a.blind < blindLooks {
			return
		}
		l.warnings.warn(WarnOwners, "nobody is found who holds sockets that are destroyed: the journal does not name owners", "error", k.err)
	}
}
