// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"iter"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ages keeps what is known of candidates beyond the registration of their network namespace: a DEL and an ADD of
// the same one start nothing over. A look confirms each history before anything follows from it, as after a restart.
type ages struct {
	former map[netns.Identity]*formerNetns
	count  int // histories

	lost    uint64 // starts that found no usable ages; it is 0 or 1 for one reaper
	lostWhy string
}

// formerNetns is what was known of a network namespace that is not registered now.
type formerNetns struct {
	histories []policy.History
	until     monotime.Time // it is kept
}

const (
	// maxFormer is how many histories are kept of network namespaces that are not registered, 160 bytes each.
	maxFormer = 100_000
	// maxKept is the longest that a history is kept.
	maxKept = 7 * 24 * time.Hour
)

func newAges() ages { return ages{former: make(map[netns.Identity]*formerNetns)} }

// longestPatience returns the longest time that any socket may get, of those that end.
func longestPatience(policies []policy.Policy) (longest time.Duration) {
	add := func(p policy.Patience) {
		if p != policy.Never {
			longest = min(max(longest, time.Duration(p)), maxKept)
		}
	}
	for i := range policies {
		p := &policies[i]
		for _, g := range []policy.Patience{p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter, p.PendingGrace} {
			add(g)
		}
		for j := range p.Rules {
			v := &p.Rules[j].Values
			for _, g := range []*policy.Patience{v.Grace, v.CloseWaitGrace, v.FinWait2Grace, v.ProbeAfter, v.PendingGrace} {
				if g != nil {
					add(*g)
				}
			}
		}
	}
	return longest
}

// keep keeps the histories of a network namespace for a time. If there are too many in all, it drops the network namespace
// first whose time is over first.
func (a *ages) keep(id netns.Identity, histories []policy.History, until, now monotime.Time) {
	a.expire(now)
	histories = histories[:min(len(histories), maxFormer)]
	if len(histories) == 0 {
		return
	}
	if f := a.former[id]; f != nil {
		a.drop(id, f)
	}
	for a.count+len(histories) > maxFormer {
		var first netns.Identity
		for id, f := range a.former {
			if a.former[first] == nil || f.until.Before(a.former[first].until) {
				first = id
			}
		}
		a.drop(first, a.former[first])
	}
	a.former[id] = &formerNetns{histories, until}
	a.count += len(histories)
}

// expire drops the histories that have been kept for long enough.
func (a *ages) expire(now monotime.Time) {
	for id, f := range a.former {
		if !now.Before(f.until) {
			a.drop(id, f)
		}
	}
}

func (a *ages) drop(id netns.Identity, f *formerNetns) {
	delete(a.former, id)
	a.count -= len(f.histories)
}

// take returns the histories of a network namespace that is registered again, and keeps them no longer.
func (a *ages) take(id netns.Identity, now monotime.Time) []policy.History {
	a.expire(now)
	f := a.former[id]
	if f == nil {
		return nil
	}
	a.drop(id, f)
	return f.histories
}

// all yields every history that is kept.
func (a *ages) all() iter.Seq[savedCandidate] {
	return func(yield func(savedCandidate) bool) {
		for id, f := range a.former {
			for _, h := range f.histories {
				if !yield(savedCandidate{id, h}) {
					return
				}
			}
		}
	}
}

// forget forgets the candidates of a network namespace, and keeps their ages.
func (l *loop) forget(ns *registered, at monotime.Time) {
	histories := make([]policy.History, 0, len(ns.candidates))
	for _, c := range ns.candidates {
		histories = append(histories, c.history)
	}
	longest := max(ns.longest, longestPatience(ns.policies))
	l.ages.keep(ns.Identity, histories, at.Add(longest), at)
	l.tracker.forget(ns, at)
}

// restoreAges takes over what an earlier registration, or an earlier reaper, knew of the sockets of network namespaces that are
// registered now. Each is confirmed at once.
func (l *loop) restoreAges(at monotime.Time) {
	if !l.ready {
		// What the reaper before this one had of a network namespace that is not registered is kept for as long as the
		// default policy asks for: its own is not known.
		until := at.Add(longestPatience([]policy.Policy{policy.Default()}))
		for id, histories := range byNetns(l.saved.candidates) {
			l.ages.keep(id, histories, until, at)
		}
		l.noticeLostAges()
		l.saved = savedAges{}
	}
	for id, ns := range l.registry.namespaces {
		if !ns.watched() {
			continue
		}
		for _, h := range l.ages.take(id, at) {
			l.tracker.restore(ns, h, at)
		}
	}
}

func byNetns(all []savedCandidate) map[netns.Identity][]policy.History {
	groups := make(map[netns.Identity][]policy.History)
	for _, s := range all {
		groups[s.netns] = append(groups[s.netns], s.history)
	}
	return groups
}

// savedAges is what a reaper found of the one before it.
type savedAges struct {
	candidates []savedCandidate
	missing    bool   // there was no file
	lost       string // why it could not be used, or not all of it
}

// noticeLostAges counts a start that found no usable ages. That there is no file is a loss where an attachment is older
// than a reaper takes to write one.
func (l *loop) noticeLostAges() {
	s := &l.saved
	older := func(r state.Record) bool { return r.Time.Before(l.began.Add(-saveEvery)) }
	if s.missing && slices.ContainsFunc(l.registry.census.records, older) {
		s.lost = "there are no saved candidates, though there were attachments before this reaper"
		l.warnings.warn(WarnCandidates, "no saved candidates: idle times begin with this reaper", "file", l.cfg.Store.CandidatesPath())
	}
	if s.lost != "" {
		l.ages.lost, l.ages.lostWhy = 1, s.lost
	}
}
