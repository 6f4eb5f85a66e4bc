// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
	"github.com/halfclose/halfclose/pkg/state"
)

// ages keeps the histories of candidates after their network namespace is unregistered, so that a DEL and an ADD of the
// same namespace reset no idle time. A look confirms each history before it has an effect, as after a restart.
type ages struct {
	former map[netns.Identity]*formerNetns
	count  int // histories

	lost    uint64 // starts without usable ages: 0 or 1 per reaper
	lostWhy string
	unsaved int // candidates that did not fit into the file when it was last written
}

// formerNetns has the histories of a network namespace that is no longer registered.
type formerNetns struct {
	histories []aged
	expires   monotime.Time
}

// aged is what outlives the registration of a candidate's network namespace, and the reaper.
type aged struct {
	history  policy.History
	idle     simulate.Track
	recorded recorded // in its idle time
}

const (
	// maxFormerHistories bounds the memory of histories in unregistered network namespaces, 184 bytes each.
	maxFormerHistories = 100_000
	// They are kept for the longest patience of their network namespace, within these bounds: a damaged record may
	// unregister it for longer than a short patience.
	minFormerAge = time.Hour
	maxFormerAge = 7 * 24 * time.Hour
)

func newAges() ages { return ages{former: make(map[netns.Identity]*formerNetns)} }

// longestPatience returns the longest patience of any policy or rule, at most maxFormerAge. It ignores "never".
func longestPatience(policies []policy.Policy) (longest time.Duration) {
	add := func(p policy.Patience) {
		if p != policy.Never {
			longest = min(max(longest, time.Duration(p)), maxFormerAge)
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

// keep keeps the histories of a network namespace until they expire. Above maxFormerHistories it drops the network
// namespaces that expire first, and returns the number of dropped histories.
func (a *ages) keep(id netns.Identity, histories []aged, expires, now monotime.Time) (dropped int) {
	a.expire(now)
	dropped = max(len(histories)-maxFormerHistories, 0)
	histories = histories[:len(histories)-dropped]
	if len(histories) == 0 {
		return 0
	}
	if f := a.former[id]; f != nil {
		a.drop(id, f)
	}
	for a.count+len(histories) > maxFormerHistories {
		var first netns.Identity
		for id, f := range a.former {
			if a.former[first] == nil || f.expires.Before(a.former[first].expires) {
				first = id
			}
		}
		dropped += len(a.former[first].histories)
		a.drop(first, a.former[first])
	}
	a.former[id] = &formerNetns{histories, expires}
	a.count += len(histories)
	return dropped
}

// expire drops the expired histories.
func (a *ages) expire(now monotime.Time) {
	for id, f := range a.former {
		if !now.Before(f.expires) {
			a.drop(id, f)
		}
	}
}

func (a *ages) drop(id netns.Identity, f *formerNetns) {
	delete(a.former, id)
	a.count -= len(f.histories)
}

// take removes and returns the histories of a network namespace that is registered again.
func (a *ages) take(id netns.Identity, now monotime.Time) []aged {
	a.expire(now)
	f := a.former[id]
	if f == nil {
		return nil
	}
	a.drop(id, f)
	return f.histories
}

// forget drops the candidates of a network namespace, and keeps their histories.
func (l *loop) forget(ns *registered, at monotime.Time) {
	histories := make([]aged, 0, len(ns.candidates))
	for _, c := range ns.candidates {
		kept := l.tracker.aged(c, at)
		kept.idle.SetCounted() // as unregistered
		histories = append(histories, kept)
	}
	longest := max(ns.longest, longestPatience(ns.policies), minFormerAge)
	l.keepAges(ns.Identity, histories, at.Add(longest), at)
	l.tracker.forget(ns, at)
}

// keepAges keeps the histories of a network namespace that is not registered, and warns if that drops any.
func (l *loop) keepAges(id netns.Identity, histories []aged, expires, at monotime.Time) {
	if dropped := l.ages.keep(id, histories, expires, at); dropped > 0 {
		l.warnings.warn(WarnSavedAges, "too many half-closed sockets in unregistered network namespaces: their ages restart from tcp_info",
			"sockets", dropped, "room", maxFormerHistories)
	}
}

// restoreAges restores the candidates that an earlier registration or an earlier reaper had in the network namespaces
// that have changed. The examiner looks at each at once.
func (l *loop) restoreAges(changed []*registered, at monotime.Time) {
	if !l.ready {
		l.restoreSaved(at)
		l.noticeLostAges()
		l.saved = savedAges{}
	}
	for _, ns := range changed {
		if !ns.isSwept() {
			continue
		}
		for _, h := range l.ages.take(ns.Identity, at) {
			l.tracker.restore(ns, h, at)
		}
	}
}

// restoreSaved restores the previous reaper's candidates in registered network namespaces, and keeps the histories of the
// others.
func (l *loop) restoreSaved(at monotime.Time) {
	former := make(map[netns.Identity][]aged)
	for i := range l.saved.candidates {
		s := &l.saved.candidates[i]
		if ns := l.activeNetns(s.netns); ns != nil {
			l.tracker.restore(ns, s.aged, at)
		} else {
			former[s.netns] = append(former[s.netns], s.aged)
		}
	}
	// The policies of an unregistered network namespace are unknown: its saved histories are kept for the longest
	// patience of the default policy.
	expires := at.Add(longestPatience([]policy.Policy{policy.Default()}))
	for id, histories := range former {
		l.keepAges(id, histories, expires, at)
	}
}

// savedAges is the content of the previous reaper's file of candidates.
type savedAges struct {
	candidates []savedCandidate
	missing    bool   // the file does not exist
	lost       string // why it, or a part of it, could not be used
}

// noticeLostAges counts a start without usable ages. A missing file is a loss if an attachment is older than the
// interval at which a reaper writes the file.
func (l *loop) noticeLostAges() {
	s := &l.saved
	isOlder := false
	for _, ns := range l.registry.namespaces {
		isOlder = isOlder || slices.ContainsFunc(ns.records, func(r state.Record) bool { return r.Time.Before(l.began.Add(-l.saveInterval)) })
	}
	if s.missing && isOlder {
		s.lost = "no saved ages, although attachments are older than this reaper"
		l.warnings.warn(WarnSavedAges, "no saved ages: idle times start now", "file", l.cfg.Store.CandidatesPath())
	}
	if s.lost != "" {
		l.ages.lost, l.ages.lostWhy = 1, s.lost
	}
}
