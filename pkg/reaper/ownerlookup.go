// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// ownerLookups looks up the owners of candidates before they are destroyed or their peers are asked: ahead of time and
// for all together that are due soon, so that few have to wait. The loop owns it and calls start and finish; the walks run
// in a goroutine of their own.
type ownerLookups struct {
	tracker  *tracker
	registry *registry
	log      *slog.Logger
	warnings *warnings

	source     owners.Resolver // nil: no look-ups
	conditions func(ctx context.Context, pids []int) (map[int]owners.Condition, error)
	pacer      *pacing.Pacer     // nil: no limit
	readings   *pacing.Pacer     // the same for readings of conditions
	requests   chan *ownerLookup // to the goroutine
	samples    chan *ownerLookup // to another one, which only reads conditions
	results    chan *ownerLookup // from both

	isRunning  bool
	isSampling bool
	nextLookup monotime.Time // none before, to stay within the budget
	nextScan   monotime.Time // no scan of the agenda before: the last one found nothing urgent
	nextSample monotime.Time // see sample
	unsampled  []*candidate  // that the last sample wanted to read, and whose owners are unknown
	lookahead  time.Duration // before its deadline a candidate is looked up
	perSecond  int           // destroys; 0: no limit

	lastFullWalk monotime.Time // that found no owner for some socket
	failures     int           // look-ups in a row that failed and found no owner at all
}

// ownerLookup is one look-up of the owners of sockets.
type ownerLookup struct {
	query      owners.Query
	candidates []*candidate
	inodes     []uint32      // of the candidates when the look-up started
	ends       []*candidate  // other ends of connections among the candidates
	allOwners  bool          // of some candidates all owners must be found
	sampled    []sampled     // if any, it only reads conditions
	stretch    time.Duration // the longest time that the budget may keep the next sample waiting

	found      map[uint32][]owners.Process
	whole      map[uint32]bool          // the sockets whose owners are all found
	conditions map[int]owners.Condition // of the owners
	err        error
	cpu        time.Duration

	// The loop's part: it stores the results of many sockets in several turns.
	finished int                     // steps that are done
	at       monotime.Time           // of the first turn
	sets     map[ownersOf]*ownerSet  // by what was found
	newer    map[*ownerSet]*ownerSet // of a sample
}

// ownersOf has what the owners of a socket depend on: sockets with the same share a set.
type ownersOf struct {
	first   *owners.Process // of the list of a look-up; nil if none was found
	isWhole bool
	isNamed bool // the policies of the socket name commands
}

// sampled is a candidate with known owners, whose conditions are read again.
type sampled struct {
	candidate *candidate
	owners    *ownerSet
}

const (
	// minLookahead and maxLookahead bound how long before its deadline a candidate is looked up. Between them it is twice
	// the time that the budget requires between two look-ups.
	minLookahead, maxLookahead = 10 * time.Second, 2 * time.Minute
	// ownersLifetime is how long found owners count as known, at least.
	ownersLifetime = 30 * time.Second
	// unfoundLifetime is the same if no owner was found and there may be others.
	unfoundLifetime = 5 * time.Second
	// maxLookupSockets bounds the sockets of a look-up. Its cost depends on the descriptors of the processes, and hardly on the
	// number of sockets.
	maxLookupSockets = 131_072
	// maxQueueLifetime bounds how long owners count as known because the rate limit lets their sockets wait.
	maxQueueLifetime = 10 * time.Minute
	// maxDescriptorSockets bounds the sockets of a look-up that returns descriptors too, which share no memory.
	maxDescriptorSockets = 256
	// fullWalkInterval is the time between two walks over all processes for sockets without an owner in their network
	// namespace. Most of them have been closed since the last sweep.
	fullWalkInterval = 2 * time.Minute
	// maxFailures is the number of consecutive failed look-ups after which a warning is logged.
	maxFailures = 3
	// minSampleInterval and maxSampleInterval bound the time between two samples. Between them it is a sixteenth of the
	// shortest patience.
	minSampleInterval, maxSampleInterval = time.Second, time.Minute
)

func (l *loop) newOwnerLookups(source owners.Resolver, budget float64, now monotime.Time) ownerLookups {
	o := ownerLookups{
		tracker: &l.tracker, registry: l.registry, log: l.log, warnings: l.warnings, source: source, perSecond: l.cfg.MaxDestroysPerSecond,
		lookahead: minLookahead, requests: make(chan *ownerLookup, 1), samples: make(chan *ownerLookup, 1), results: make(chan *ownerLookup, 2),
	}
	if budget > 0 {
		o.pacer, o.readings = pacing.New(budget, now), pacing.New(budget, now)
	}
	return o
}

// work runs look-ups, and samples beside them, until ctx is done.
func (o *ownerLookups) work(ctx context.Context) {
	var both sync.WaitGroup
	for _, requests := range []chan *ownerLookup{o.requests, o.samples} {
		both.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case k := <-requests:
					k.cpu = pacing.MeasureCPU(func() { o.run(ctx, k) })
					o.results <- k // never blocks: capacity 2, at most one look-up and one sample in flight
				}
			}
		})
	}
	both.Wait()
}

// run finds the owners, and reads their conditions.
func (o *ownerLookups) run(ctx context.Context, k *ownerLookup) {
	if k.allOwners {
		k.query.Scope = owners.AllProcesses
	}
	if len(k.query.Inodes) > 0 {
		k.whole = make(map[uint32]bool)
		k.query.OnComplete = func(inode uint32) { k.whole[inode] = true }
		k.found, k.err = o.source.Find(ctx, k.query)
	}
	if o.conditions == nil {
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
	conditions, err := o.conditions(ctx, pids)
	k.conditions, k.err = conditions, errors.Join(k.err, err)
}

// start starts a look-up if one is due. The loop calls it after each of its iterations, at least once per second.
func (o *ownerLookups) start(at monotime.Time) {
	if o.source == nil {
		return
	}
	o.sample(at)
	if o.isRunning || at.Before(o.nextLookup) {
		return
	}
	if o.tracker.ownersQ.Len() == 0 && len(o.unsampled) == 0 {
		next, ok := o.tracker.nextDue()
		isSoon := ok && next.Before(at.Add(o.lookahead)) || o.tracker.examineQ.Len()+o.tracker.budgetQ.Len() > 0
		if !isSoon || at.Before(o.nextScan) {
			return
		}
	}
	k, urgent := o.collect(at)
	if !urgent {
		o.nextScan = at.Add(o.lookahead / 10)
		return
	}
	o.isRunning = true
	o.requests <- k // never blocks: capacity 1, at most one look-up in flight
}

// collect returns a look-up of all candidates that are due soon and whose owners are unknown. It is urgent if a candidate
// waits for it, or is due within half of the lookahead.
func (o *ownerLookups) collect(at monotime.Time) (k *ownerLookup, urgent bool) {
	k = o.newLookup(at)
	for o.tracker.ownersQ.Len() > 0 && len(k.candidates) < maxLookupSockets {
		_, list := o.tracker.ownersQ.Pop(maxLookupSockets - len(k.candidates))
		for _, c := range list {
			if c.step.phase == phaseUnowned {
				if c.owners != nil && len(c.owners.facts) == 0 && !c.owners.complete && at.Sub(o.lastFullWalk) >= unfoundLifetime {
					k.query.Scope = owners.NetnsProcessesFirst // without a full walk it would wait on
				}
				o.addWithOtherEnd(k, c, at) // may exceed maxLookupSockets
				urgent = true
			}
		}
	}
	for _, c := range o.unsampled {
		if c.owners == nil && c.step.phase.isJudged() && c.step.phase != phaseUnowned && len(k.candidates) < maxLookupSockets {
			o.addWithOtherEnd(k, c, at)
			urgent = true
		}
	}
	o.unsampled = o.unsampled[:0]
	until, soon := at.Add(o.lookahead), at.Add(o.lookahead/2)
	take := func(c *candidate) bool {
		if o.needsOwners(c, at, until) {
			o.addWithOtherEnd(k, c, at)
			urgent = urgent || c.verdict.deadline.Before(soon)
		}
		return len(k.candidates) < maxLookupSockets
	}
	visited := 0
	for _, queue := range []*candidateQueue{o.tracker.budgetQ, o.tracker.examineQ} {
		for c := range queue.InTurn() {
			if visited++; !take(c) || visited >= maxLookupSockets { // a queue may have all candidates of the node
				break
			}
		}
	}
	for c := range o.tracker.upcoming(until) {
		if !take(c) {
			break
		}
	}
	k.query.Descriptors = len(k.candidates) <= maxDescriptorSockets
	return k, urgent
}

// sample reads the conditions of the owners of candidates that are past a quarter of their patience, at each quarter of it: no
// kernel counts for how long a process was stopped, and not every kernel for how long it was frozen. It waits for no look-up: a
// pause that no reading shows would count as idle. Unknown owners are left to the next look-up.
func (o *ownerLookups) sample(at monotime.Time) {
	if o.conditions == nil || o.isSampling || at.Before(o.nextSample) {
		return
	}
	k := o.newLookup(at)
	o.unsampled = o.unsampled[:0]
	interval := maxSampleInterval
	for _, ns := range o.registry.namespaces {
		interval = min(interval, ns.Grace/16) // of candidates that are found before the next sample
		for _, c := range ns.candidates {
			patience := c.verdict.deadline.Sub(c.verdict.start)
			if c.verdict.deadline.IsZero() || c.verdict.start.IsZero() || patience <= 0 || c.shown.inode == 0 {
				continue
			}
			interval = min(interval, patience/16)
			switch {
			case !c.step.phase.isJudged() && c.step.phase != phaseOverBudget || at.Sub(c.verdict.start) < patience/4:
			case c.owners == nil && len(o.unsampled) < maxLookupSockets:
				o.unsampled = append(o.unsampled, c)
			case c.owners != nil && len(c.owners.list) > 0 && at.Sub(c.owners.at) >= patience*3/16: // the next sample would be later than a quarter
				k.sampled = append(k.sampled, sampled{c, c.owners})
			}
		}
	}
	o.nextSample, k.stretch = at.Add(max(interval, minSampleInterval)), max(3*interval, minSampleInterval)
	if len(k.sampled) > 0 {
		o.isSampling = true
		o.samples <- k // never blocks: capacity 1, at most one sample in flight
	}
}

// sampleSoon lets the next sample not be later than new policies require.
func (o *ownerLookups) sampleSoon(at monotime.Time) {
	o.nextSample = min(o.nextSample, at.Add(minSampleInterval))
}

// newLookup returns a look-up without candidates. Its scope is the network namespaces of the candidates, and all others if
// a full walk is due.
func (o *ownerLookups) newLookup(at monotime.Time) *ownerLookup {
	k := &ownerLookup{query: owners.Query{
		Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: owners.NetnsProcesses,
	}}
	if o.lastFullWalk.IsZero() || at.Sub(o.lastFullWalk) >= fullWalkInterval {
		k.query.Scope = owners.NetnsProcessesFirst
	}
	return k
}

func (k *ownerLookup) add(c *candidate) {
	k.query.Inodes[c.shown.inode], k.query.Netns[c.ns.Identity.Inode] = struct{}{}, struct{}{}
	k.candidates, k.inodes = append(k.candidates, c), append(k.inodes, c.shown.inode)
	k.allOwners = k.allOwners || c.ns.namesCommands
}

// addWithOtherEnd adds a candidate, and the other end of its connection, whose owners may be frozen.
func (o *ownerLookups) addWithOtherEnd(k *ownerLookup, c *candidate, at monotime.Time) {
	k.add(c)
	end := c.end()
	for other := range o.tracker.ends.opposite(&end) {
		if other != c && !o.tracker.knowsOwners(other, at) && other.shown.inode != 0 && other.step.phase != phaseUnowned {
			k.add(other)
			k.ends = append(k.ends, other)
		}
	}
}

// needsOwners reports whether a candidate's owners are unknown, and only the time until its deadline keeps it from a
// destroy or a would-destroy.
func (o *ownerLookups) needsOwners(c *candidate, at, until monotime.Time) bool {
	switch c.verdict.reason {
	case policy.WithinGrace, policy.Progressing, policy.PeerAlive, policy.Destroyable, policy.WouldDestroy:
	default:
		return false
	}
	return !o.tracker.knowsOwners(c, at) && c.step.phase != phaseForbidden && c.step.phase != phaseUnowned && c.shown.inode != 0 &&
		!c.verdict.deadline.IsZero() && c.verdict.deadline.Before(until)
}

// maxFinishSteps is after how many steps the loop does other work: a few milliseconds.
const maxFinishSteps = 1000

// finish stores the results of a look-up, and judges the candidates that waited for it. With very many sockets it stops after
// maxFinishSteps, and the loop calls it again.
func (o *ownerLookups) finish(k *ownerLookup, at monotime.Time) {
	step, steps := o.finishSampled, len(k.sampled)
	if steps == 0 {
		step, steps = o.finishLookup, 2*len(k.candidates)+len(k.ends)
	}
	if k.finished == 0 {
		k.at, k.sets, k.newer = at, make(map[ownersOf]*ownerSet), make(map[*ownerSet]*ownerSet)
		o.spend(k, at)
	}
	for limit := k.finished + maxFinishSteps; k.finished < steps && k.finished < limit; k.finished++ {
		step(k, k.finished, at)
	}
	switch {
	case k.finished < steps:
		o.results <- k // never blocks: its place is free
	case len(k.sampled) > 0:
		o.isSampling = false
	default:
		o.endLookup(k)
	}
}

// finishLookup takes one step of finishing a look-up: first all owners are stored, then the other ends of connections are judged, then
// the candidates, whose verdicts depend on these.
func (o *ownerLookups) finishLookup(k *ownerLookup, step int, at monotime.Time) {
	switch n := len(k.candidates); {
	case step < n:
		o.setOwners(k, step, at)
	case step < n+len(k.ends):
		o.tracker.reconsiderIfJudged(k.ends[step-n], at)
	default:
		o.judgeFound(k, step-n-len(k.ends), at)
	}
}

// spend spends the cost of a look-up or a sample: the lifetime of found owners depends on the time until the next one.
func (o *ownerLookups) spend(k *ownerLookup, at monotime.Time) {
	switch {
	case len(k.sampled) > 0 && o.readings != nil:
		o.readings.Spend(at, k.cpu)
		o.nextSample = max(o.nextSample, at.Add(min(o.readings.Wait(at), k.stretch)))
	case len(k.sampled) == 0 && o.pacer != nil:
		o.pacer.Spend(at, k.cpu)
		wait := o.pacer.Wait(at)
		o.nextLookup, o.lookahead = at.Add(wait), min(max(minLookahead, 2*wait), maxLookahead)
	}
}

// endLookup allows the next look-up.
func (o *ownerLookups) endLookup(k *ownerLookup) {
	o.isRunning = false
	if k.query.Scope != owners.NetnsProcesses && len(k.found) < len(k.query.Inodes) {
		o.lastFullWalk = k.at
	}
	if k.err != nil {
		o.log.Debug("look up socket owners", "sockets", len(k.query.Inodes), "found", len(k.found), "error", k.err)
	}
	o.noticeFailures(k)
}

// lifetime returns how long found owners count as known. The list of owners of sockets whose policies name no commands is only shown,
// and names the processes whose conditions are read; those are read again before a destroy. So it stays valid while the sockets wait for the
// rate limit. Otherwise, with more sockets due than the rate limit allows within a lifetime, each would need another look-up when its
// turn comes, and none would be destroyed.
func (o *ownerLookups) lifetime(k *ownerLookup, of ownersOf) time.Duration {
	shortest := max(ownersLifetime, o.lookahead)
	switch {
	case of.first == nil && !of.isWhole:
		return unfoundLifetime
	case of.first == nil, of.isNamed, o.perSecond == 0:
		return shortest
	}
	waiting := o.tracker.budgetQ.Len() + o.tracker.examineQ.Len() + o.tracker.ownersQ.Len() + len(k.candidates)
	return max(shortest, min(2*time.Duration(waiting)*time.Second/time.Duration(o.perSecond), maxQueueLifetime))
}

// setOwners stores the found owners with a candidate.
func (o *ownerLookups) setOwners(k *ownerLookup, i int, at monotime.Time) {
	c := k.candidates[i]
	if c.step.phase == phaseDropped {
		return
	}
	if c.shown.inode != k.inodes[i] {
		if c.step.phase == phaseUnowned {
			o.tracker.ownersQ.Push(c.ns, c) // it was accepted since
		}
		return
	}
	list, before := k.found[c.shown.inode], c.owners
	id := ownersOf{isWhole: k.whole[c.shown.inode]}
	if len(list) > 0 {
		id.first, id.isNamed = &list[0], c.ns.namesCommands
	}
	if k.sets[id] == nil {
		k.sets[id] = newOwnerSet(k, list, id.isWhole, k.at, o.lifetime(k, id))
	}
	c.owners = k.sets[id]
	o.tracker.excludeFrozenTime(c, before, at)
}

// judgeFound judges a candidate that waited for its owners.
func (o *ownerLookups) judgeFound(k *ownerLookup, i int, at monotime.Time) {
	c := k.candidates[i]
	if c.shown.inode != k.inodes[i] || c.step.phase != phaseUnowned || c.owners == nil {
		return
	}
	o.tracker.handle(c, eventOwnersLookedUp, at)
	o.tracker.reconsider(c, at)
	if c.verdict.reason == policy.OwnerUnknown && len(c.owners.list) == 0 && c.step.phase == phaseTimed {
		o.tracker.handle(c, eventTimeCame, at) // most sockets without an owner are closed: look again
	}
}

// finishSampled stores newer conditions of a candidate's known owners, and judges it again.
func (o *ownerLookups) finishSampled(k *ownerLookup, i int, at monotime.Time) {
	c, known := k.sampled[i].candidate, k.sampled[i].owners
	if c.owners != known || c.step.phase == phaseDropped {
		return // looked up again since, or of another socket
	}
	if k.newer[known] == nil {
		k.newer[known] = known.withConditions(k.conditions, k.at)
	}
	c.owners = k.newer[known]
	o.tracker.excludeFrozenTime(c, known, at)
	o.tracker.reconsiderIfJudged(c, at)
}

// noticeFailures warns once if look-ups fail and find no owner at all.
func (o *ownerLookups) noticeFailures(k *ownerLookup) {
	switch {
	case o.failures == maxFailures: // the warning was logged
	case len(k.found) > 0:
		o.failures = 0
	case k.err != nil:
		if o.failures++; o.failures == maxFailures {
			o.warnings.warn(WarnOwners, "cannot find socket owners: history entries will have none", "error", k.err)
		}
	}
}
