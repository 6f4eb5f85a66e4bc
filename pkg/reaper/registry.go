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
	finder.Netns // what the finder and the examiner need to know; replaced, never changed
	records      []state.Record
	resolved     []policy.Resolved // of each record
	policies     []policy.Policy   // of all records, which are judged each; replaced, never changed
	blockers     []state.Hold      // files that keep it at observe
	limit        policy.Mode       // the most that may be done in it: the node's mode, and observe where it is held

	candidates              map[uint64]*candidate // by cookie
	surplus                 surplus
	destroyed, wouldDestroy uint64
	problem                 string        // why the last sweep could not read it
	tried                   bool          // to enter it
	unreachable             string        // why it could not be entered the last time that this was tried
	registeredAt            monotime.Time // in this reaper's time
	longest                 time.Duration // the longest patience that its sockets have had
	lastSweep               monotime.Time // when the last complete sweep began
	sweepLate               time.Duration // how long after it was due that sweep began
}

// mode returns the most that any socket of it may get: rules may say less.
func (ns *registered) mode() policy.Mode {
	m := ns.limit
	for i := range ns.policies {
		m = policy.MostConservative(m, ns.policies[i].Mode)
	}
	return m
}

// watched reports whether anything is looked for in it: its own sockets may never be destroyed.
func (ns *registered) watched() bool { return ns.Interval > 0 }

// paths returns the paths of a namespace's records, each once.
func paths(records []state.Record) (list []string) {
	for _, r := range records {
		if !slices.Contains(list, r.Netns.Path) {
			list = append(list, r.Netns.Path)
		}
	}
	return list
}

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
	repolicy []*registered // with other policies, held or not held any more, or watched no more
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
	resolved := make(map[netns.Identity]*registered, len(groups))
	for id, records := range groups {
		resolved[id] = r.resolve(id, records)
	}
	watchQuiet(resolved)
	for id, n := range resolved {
		ns := r.namespaces[id]
		if ns == nil {
			n.candidates, n.registeredAt = make(map[uint64]*candidate), now
			r.namespaces[id], ch.targets = n, true
			continue
		}
		if !reflect.DeepEqual(ns.policies, n.policies) || len(ns.blockers) == 0 != (len(n.blockers) == 0) || ns.watched() && !n.watched() {
			ch.repolicy = append(ch.repolicy, ns)
		}
		ns.longest = max(ns.longest, longestPatience(ns.policies))
		ch.targets = ch.targets || !reflect.DeepEqual(ns.Netns, n.Netns)
		ns.Netns, ns.records, ns.resolved, ns.policies, ns.blockers = n.Netns, n.records, n.resolved, n.policies, n.blockers
	}
	return ch
}

// resolve returns a network namespace with what its records and the census say of it, and nothing else.
func (r *registry) resolve(id netns.Identity, records []state.Record) *registered {
	ns := &registered{records: records, blockers: r.census.heldBy(id)}
	for i := range records {
		resolved := records[i].Layers.Resolve(r.minGrace)
		ns.resolved = append(ns.resolved, resolved)
		for _, p := range resolved.Policies {
			if !slices.ContainsFunc(ns.policies, func(q policy.Policy) bool { return reflect.DeepEqual(p, q) }) {
				ns.policies = append(ns.policies, p) // attachments of one pod mostly have the same
			}
		}
	}
	ns.Netns = finder.NewNetns(id, paths(records), ns.policies)
	return ns
}

// quietSweeps is how long after each other, on average, the quiet network namespaces are swept at the soonest: all of
// them together cost at most two sweeps a second.
const quietSweeps = 500 * time.Millisecond

// watchQuiet has the finder look in the network namespaces in which nothing can be done, if there is one in which
// something can: their sockets may be the other ends of connections. They are looked at as often as that one, so that an
// end is known before the other one's time comes, or more rarely if there are many of them. The sweeps are sock_diag's;
// the bpf finder has all sockets in one set.
func watchQuiet(all map[netns.Identity]*registered) {
	var interval time.Duration
	var quiet []*registered
	for _, ns := range all {
		switch {
		case !ns.watched():
			quiet = append(quiet, ns)
		case interval == 0 || ns.Interval < interval:
			interval = ns.Interval
		}
	}
	if interval == 0 {
		return
	}
	interval = min(max(interval, time.Duration(len(quiet))*quietSweeps), time.Minute)
	for _, ns := range quiet {
		ns.Interval = interval
	}
}

// targets lists the namespaces in which there is something to look for.
func (r *registry) targets() []finder.Netns {
	targets := make([]finder.Netns, 0, len(r.namespaces))
	for _, ns := range r.namespaces {
		if ns.watched() {
			targets = append(targets, ns.Netns)
		}
	}
	return targets
}
