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
	// sampling is when owners are looked at next that may have been frozen or stopped.
	sampling monotime.Time

	wide  monotime.Time // of the last look at all processes that found nobody for some socket
	blind int           // how many looks in a row found nobody, of whom some may not be seen
}

// ownersLook is one look for the holders of sockets.
type ownersLook struct {
	query      owners.Query
	candidates []*candidate // whose owners are asked for
	inodes     []uint32     // that each had then
	ends       []*candidate // of these, the other ends of connections
	everywhere bool         // of some of them all owners are asked for
	sampled    []sampled    // whose owners are known, and may be frozen or stopped by now

	found      map[uint32][]owners.Process
	whole      map[uint32]bool          // sockets that no other process holds
	conditions map[int]owners.Condition // of their processes
	err        error
	cpu        time.Duration
}

// sampled is a candidate with the owners whose conditions are read.
type sampled struct {
	candidate *candidate
	owners    *holders
}

// holders are the owners of some candidates, as they were found.
type holders struct {
	list     []owners.Process // shared with the history and its readers: not to be changed
	facts    []policy.Owner   // the owners of list that can be judged, as the judgement knows them
	complete bool             // these are all that there are
	// diesOfSigpipe says of each of list whether SIGPIPE kills it, or may.
	diesOfSigpipe []bool
	// descriptors are the same with TID and FD; nil if they were not looked up.
	descriptors []owners.Process

	frozenTime time.Duration // for how long all of them have been frozen together, at most
	at         monotime.Time
	until      monotime.Time // they count as known
}

// newHolders returns what a look found. whole says that there are no others.
func newHolders(k *ownersLook, list []owners.Process, whole bool, at monotime.Time, lifetime time.Duration) *holders {
	h := &holders{list: list, at: at, until: at.Add(lifetime), complete: whole}
	if k.query.Descriptors {
		h.descriptors, h.list = list, slices.Clone(list)
		for i := range h.list {
			h.list[i].TID, h.list[i].FD = 0, 0
		}
	}
	h.judge(k.conditions)
	return h
}

// judge takes over the conditions of the owners. One whose condition cannot be read counts as running: where cgroups are
// hidden from the reaper, no socket would ever be destroyed otherwise. Beside one that is frozen it counts as frozen. One
// that has exited is none; if none is left, another process may have the socket by now, and is looked for.
func (h *holders) judge(conditions map[int]owners.Condition) {
	exited, isUnread := false, make([]bool, 0, len(h.list))
	frozen, running := false, false
	for _, p := range h.list {
		c := conditions[p.PID]
		h.diesOfSigpipe = append(h.diesOfSigpipe, c.Sigpipe != owners.SigpipeIgnored)
		if c.Exited {
			exited = true
			continue
		}
		if len(h.facts) == 0 || c.FrozenTime < h.frozenTime {
			h.frozenTime = c.FrozenTime
		}
		o := policy.Owner{
			Command: p.Command, Frozen: c.Pause == owners.Frozen || c.Pause == owners.Stopped,
			DiesOfSigpipe: c.Sigpipe != owners.SigpipeIgnored,
		}
		unread := c.Pause == owners.PauseUnknown
		frozen, running = frozen || o.Frozen, running || !o.Frozen && !unread
		h.facts, isUnread = append(h.facts, o), append(isUnread, unread)
	}
	for i := range h.facts {
		h.facts[i].Frozen = h.facts[i].Frozen || isUnread[i] && frozen && !running
	}
	if exited && len(h.facts) == 0 {
		h.complete, h.until = false, h.at
	}
}

// withConditions returns the same owners with their conditions as they are later. What was found counts for no longer.
func (h *holders) withConditions(conditions map[int]owners.Condition, at monotime.Time) *holders {
	n := &holders{list: h.list, descriptors: h.descriptors, complete: h.complete, at: at, until: h.until}
	n.judge(conditions)
	return n
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
	// unfoundFor is how long it counts that no holder was found by a look that was not complete.
	unfoundFor = 5 * time.Second
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
	if k.everywhere {
		k.query.Scope = owners.AllProcesses
	}
	if len(k.query.Inodes) > 0 {
		k.whole = make(map[uint32]bool)
		k.query.OnComplete = func(inode uint32) { k.whole[inode] = true }
		k.found, k.err = a.source.Find(ctx, k.query)
	}
	if a.conditions == nil {
		return
	}
	seen := make(map[int]bool)
	var pids []int
	add := func(list []owners.Process) {
		for _, p := range list {
			if !seen[p.PID] {
				seen[p.PID] = true
				pids = append(pids, p.PID)
			}
		}
	}
	for _, list := range k.found {
		add(list)
	}
	for _, s := range k.sampled {
		add(s.owners.list)
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
	if l.sample(at) {
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
	k = newOwnersLook()
	a := &l.attribution
	if a.isWideDue(at) {
		k.query.Scope = owners.NetnsProcessesFirst
	}
	for l.tracker.unowned.Len() > 0 && len(k.candidates) < atOnceLook {
		_, list := l.tracker.unowned.Pop(atOnceLook - len(k.candidates))
		for _, c := range list {
			if c.step.phase == phaseUnowned {
				if c.owners != nil && len(c.owners.facts) == 0 && !c.owners.complete && at.Sub(a.wide) >= unfoundFor {
					k.query.Scope = owners.NetnsProcessesFirst // it waits for that
				}
				l.askOwners(k, c, at) // which may ask for more
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

// sample has the owners looked at of what is past half of its patience, each quarter of it: for how long a process was
// stopped is counted nowhere, nor does each kernel count for how long it was frozen. Of owners that are known it reads the
// conditions alone. It reports whether there is such a look, which waits for any that is due.
func (l *loop) sample(at monotime.Time) bool {
	a := &l.attribution
	if a.conditions == nil || at.Before(a.sampling) || l.tracker.unowned.Len() > 0 {
		return false
	}
	k := newOwnersLook()
	if a.isWideDue(at) {
		k.query.Scope = owners.NetnsProcessesFirst
	}
	shortest := maxSampling
	for _, ns := range l.registry.namespaces {
		for i := range ns.policies { // of what there may be before the next round
			shortest = min(shortest, time.Duration(min(ns.policies[i].CloseWaitGrace, ns.policies[i].FinWait2Grace))/16)
		}
		for _, c := range ns.candidates {
			patience := c.verdict.deadline.Sub(c.verdict.start)
			if c.verdict.deadline.IsZero() || c.verdict.start.IsZero() || patience <= 0 || c.shown.inode == 0 {
				continue
			}
			shortest = min(shortest, patience/16)
			switch {
			case !c.step.phase.isJudged() || at.Sub(c.verdict.start) < patience/2 || len(k.candidates)+len(k.sampled) >= atOnceLook:
			case c.owners == nil:
				l.askOwners(k, c, at)
			case at.Sub(c.owners.at) >= patience*3/16: // at the latest after a quarter, at the next round
				if len(c.owners.list) == 0 {
					continue // none is known: they are looked for before anything is done
				}
				k.sampled = append(k.sampled, sampled{c, c.owners})
			}
		}
	}
	a.sampling = at.Add(max(shortest, minSampling))
	if len(k.candidates)+len(k.sampled) == 0 {
		return false
	}
	k.query.Descriptors = len(k.candidates) <= maxDescriptors
	a.busy = true
	a.looks <- k // has room: there is only this one
	return true
}

// Between two rounds of samples there is a sixteenth of the shortest patience, within these bounds.
const minSampling, maxSampling = time.Second, time.Minute

func newOwnersLook() *ownersLook {
	return &ownersLook{query: owners.Query{
		Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: owners.NetnsProcesses,
	}}
}

// isWideDue reports whether all processes are looked at for what has no holder in its network namespace.
func (a *attribution) isWideDue(at monotime.Time) bool {
	return a.wide.IsZero() || at.Sub(a.wide) >= wideEvery
}

// maxDescriptors is for how many sockets a look returns the descriptors too: they share no memory.
const maxDescriptors = 256

func (k *ownersLook) ask(c *candidate) {
	k.query.Inodes[c.shown.inode], k.query.Netns[c.ns.Identity.Inode] = struct{}{}, struct{}{}
	k.candidates, k.inodes = append(k.candidates, c), append(k.inodes, c.shown.inode)
	if c.ns.namesCommands {
		k.everywhere = true // each of its owners counts
	}
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
	if k.query.Scope != owners.NetnsProcesses && len(k.found) < len(k.query.Inodes) {
		a.wide = at
	}
	if k.err != nil {
		l.log.Debug("look for the owners of sockets", "sockets", len(k.query.Inodes), "found", len(k.found), "error", k.err)
	}
	l.noticeBlindness(k)
	lifetime := max(freshFor, a.ahead)
	none, noneWhole := newHolders(k, nil, false, at, unfoundFor), newHolders(k, nil, true, at, lifetime)
	type list struct {
		first *owners.Process
		whole bool
	}
	shared := map[list]*holders{}
	for i, c := range k.candidates {
		if c.shown.inode != k.inodes[i] {
			if c.step.phase == phaseUnowned {
				l.tracker.unowned.Push(c.ns, c) // it was accepted since
			}
			continue
		}
		before := c.owners
		whole := k.whole[c.shown.inode]
		if c.owners = none; whole {
			c.owners = noneWhole
		}
		if found := k.found[c.shown.inode]; len(found) > 0 {
			key := list{&found[0], whole}
			if shared[key] == nil {
				shared[key] = newHolders(k, found, whole, at, lifetime)
			}
			c.owners = shared[key]
		}
		c.thawed(before, at)
	}
	l.sampled(k, at)
	for _, c := range k.ends { // first: the others are judged by what is known of these too
		l.tracker.reconsiderIfJudged(c, at)
	}
	for i, c := range k.candidates {
		if c.shown.inode == k.inodes[i] && c.step.phase == phaseUnowned {
			l.tracker.handle(c, eventOwnersLookedUp, at)
			l.tracker.reconsider(c, at)
			if c.verdict.reason == policy.OwnerUnknown && len(c.owners.list) == 0 && c.step.phase == phaseTimed {
				l.tracker.handle(c, eventTimeCame, at) // most sockets without an owner are closed
			}
		}
	}
}

// sampled takes in the conditions of owners that were known.
func (l *loop) sampled(k *ownersLook, at monotime.Time) {
	later := make(map[*holders]*holders)
	for _, s := range k.sampled {
		c := s.candidate
		if c.owners != s.owners || c.step.phase == phaseDropped {
			continue // looked for again, or of another socket
		}
		if later[s.owners] == nil {
			later[s.owners] = s.owners.withConditions(k.conditions, at)
		}
		c.owners = later[s.owners]
		c.thawed(s.owners, at)
		l.tracker.reconsiderIfJudged(c, at)
	}
}

// noticeBlindness warns, once, when the owners of nothing can be found.
func (l *loop) noticeBlindness(k *ownersLook) {
	a := &l.attribution
	switch {
	case len(k.query.Inodes) == 0: // it was about conditions
	case a.blind == blindLooks: // it was said
	case len(k.found) > 0:
		a.blind = 0
	case k.err != nil:
		if a.blind++; a.blind < blindLooks {
			return
		}
		l.warnings.warn(WarnOwners, "nobody is found who holds sockets that are destroyed: the history does not name owners", "error", k.err)
	}
}
