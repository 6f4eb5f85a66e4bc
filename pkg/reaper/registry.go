// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"reflect"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// registered is one network namespace with the attachments in it.
type registered struct {
	id      netns.Identity
	records []state.Record
	policy  *policy.Policy // merged, graces no shorter than the reaper's minimum; replaced, never changed

	candidates              map[uint64]*candidate // by cookie
	destroyed, wouldDestroy uint64
	problem                 string // why the last sweep could not look into it
	from, swept             monotime.Time
	late                    time.Duration // how long after its time the last sweep began
}

// target is what finders and the examiner need to know of it.
func (ns *registered) target() finder.Target {
	t := finder.Target{Identity: ns.id, Interval: finder.SweepInterval(*ns.policy), Grace: time.Duration(finder.ShortestGrace(*ns.policy))}
	for _, r := range ns.records {
		if !slices.Contains(t.Paths, r.Netns.Path) {
			t.Paths = append(t.Paths, r.Netns.Path)
		}
	}
	return t
}

// watched reports whether anything is looked for in it.
func (ns *registered) watched() bool { return finder.SweepInterval(*ns.policy) > 0 }

// registry knows the registered namespaces.
type registry struct {
	minGrace   time.Duration
	namespaces map[netns.Identity]*registered
	census     census
}

func newRegistry(minGrace time.Duration) *registry {
	return &registry{minGrace: minGrace, namespaces: make(map[netns.Identity]*registered)}
}

// changes is what a census has changed.
type changes struct {
	removed  []*registered // registered no longer
	repolicy []*registered // with another policy
	targets  bool          // there is something new, or less, or something else, to tell the finder
}

// update takes over a census.
func (r *registry) update(c census, now monotime.Time) (ch changes) {
	r.census = c
	groups := make(map[netns.Identity][]state.Record)
	for _, rec := range c.records {
		groups[rec.Netns.Identity] = append(groups[rec.Netns.Identity], rec)
	}
	for id, ns := range r.namespaces {
		if groups[id] == nil {
			delete(r.namespaces, id)
			ch.removed, ch.targets = append(ch.removed, ns), true
		}
	}
	for id, records := range groups {
		merged := r.merge(records)
		ns := r.namespaces[id]
		if ns == nil {
			r.namespaces[id] = &registered{
				id: id, records: records, policy: &merged, candidates: make(map[uint64]*candidate), from: now,
			}
			ch.targets = true
			continue
		}
		if !reflect.DeepEqual(*ns.policy, merged) {
			ch.repolicy = append(ch.repolicy, ns)
		}
		was := ns.target()
		ns.records, ns.policy = records, &merged
		ch.targets = ch.targets || !reflect.DeepEqual(was, ns.target())
	}
	return ch
}

// merge makes the one policy of a namespace from those of its attachments.
func (r *registry) merge(records []state.Record) policy.Policy {
	all := make([]policy.Policy, 0, len(records))
	for _, rec := range records {
		all = append(all, rec.Policy)
	}
	p := policy.Merge(all...)
	p.CloseWaitGrace = max(p.CloseWaitGrace, policy.Grace(r.minGrace))
	p.FinWait2Grace = max(p.FinWait2Grace, policy.Grace(r.minGrace))
	return p
}

// targets lists the namespaces in which there is something to look for.
func (r *registry) targets() []finder.Target {
	targets := make([]finder.Target, 0, len(r.namespaces))
	for _, ns := range r.namespaces {
		if t := ns.target(); t.Interval > 0 {
			targets = append(targets, t)
		}
	}
	return targets
}
