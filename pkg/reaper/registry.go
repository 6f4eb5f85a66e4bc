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

// registered is a registered network namespace with its attachments and candidates.
type registered struct {
	finder.Netns  // for finder and examiner; replaced, never changed
	records       []state.Record
	resolved      []policy.Resolved // of each record
	policies      []policy.Policy   // the distinct ones of all records; replaced, never changed
	namesCommands bool              // any rule or exemption matches commands
	blockers      []state.Hold      // files that cap it at observe
	limit         policy.Mode       // cap on its mode: the node's effective mode, and observe if it has blockers

	candidates              map[uint64]*candidate // by cookie
	surplus                 surplus
	destroyed, wouldDestroy uint64
	problem                 string        // error of the last sweep, "" if there was none
	tried                   bool          // a trial has entered it, or failed to
	unreachable             string        // why it could not be entered at the last attempt
	registeredAt            monotime.Time // by this reaper
	longest                 time.Duration // the longest patience since then
	lastSweep               monotime.Time // when the last complete sweep began
	sweepLag                time.Duration // delay of that beginning
}

// mode returns the mode of the most permissive policy in it. A rule's mode may be more conservative.
func (ns *registered) mode() policy.Mode {
	m := ns.limit
	for i := range ns.policies {
		m = policy.MostConservative(m, ns.policies[i].Mode)
	}
	return m
}

// isSwept reports whether the finder looks for sockets in it. It may do so for the other ends of connections alone.
func (ns *registered) isSwept() bool { return ns.Interval > 0 }

// paths returns the distinct paths of a namespace's records.
func paths(records []state.Record) (list []string) {
	for _, r := range records {
		if !slices.Contains(list, r.Netns.Path) {
			list = append(list, r.Netns.Path)
		}
	}
	return list
}

// registry has the registered network namespaces.
type registry struct {
	minGrace   time.Duration
	sample     time.Duration // Config.Sample
	namespaces map[netns.Identity]*registered
	census     census
}

func newRegistry(minGrace time.Duration) *registry {
	return &registry{minGrace: minGrace, namespaces: make(map[netns.Identity]*registered)}
}

// changes are the differences between two censuses.
type changes struct {
	removed  []*registered
	repolicy []*registered // policies or the cap at observe changed, or it is no longer swept
	targets  bool          // the finder's set of network namespaces changed
}

// update registers and unregisters network namespaces according to a census.
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
	sweepQuiet(resolved)
	sampleLooks(resolved, r.sample)
	for id, n := range resolved {
		ns := r.namespaces[id]
		if ns == nil {
			n.candidates, n.registeredAt = make(map[uint64]*candidate), now
			r.namespaces[id], ch.targets = n, true
			continue
		}
		if !reflect.DeepEqual(ns.policies, n.policies) || len(ns.blockers) == 0 != (len(n.blockers) == 0) || ns.isSwept() && !n.isSwept() {
			ch.repolicy = append(ch.repolicy, ns)
		}
		ns.longest = max(ns.longest, longestPatience(ns.policies))
		ch.targets = ch.targets || !reflect.DeepEqual(ns.Netns, n.Netns)
		ns.Netns, ns.records, ns.resolved, ns.policies, ns.blockers = n.Netns, n.records, n.resolved, n.policies, n.blockers
		ns.namesCommands = n.namesCommands
	}
	return ch
}

// resolve returns a network namespace with the fields that follow from its records and the census.
func (r *registry) resolve(id netns.Identity, records []state.Record) *registered {
	ns := &registered{records: records, blockers: r.census.holdsOn(id)}
	for i := range records {
		resolved, known := r.census.resolved[fileName(records[i])]
		if !known { // a census of a test
			resolved = records[i].Layers.Resolve(r.minGrace)
		}
		ns.resolved = append(ns.resolved, resolved)
		for _, p := range resolved.Policies {
			if !slices.ContainsFunc(ns.policies, func(q policy.Policy) bool { return reflect.DeepEqual(p, q) }) {
				ns.policies = append(ns.policies, p) // the attachments of a pod usually have the same policy
			}
		}
	}
	ns.namesCommands = slices.ContainsFunc(ns.policies, namesCommands)
	ns.Netns = finder.NewNetns(id, paths(records), ns.policies)
	return ns
}

// namesCommands reports whether any rule or exemption of a policy matches commands.
func namesCommands(p policy.Policy) bool {
	return slices.ContainsFunc(p.Exempt, func(m policy.Match) bool { return len(m.Commands) > 0 }) ||
		slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return len(r.Match.Commands) > 0 })
}

// minQuietSpacing is the minimum mean time between two sweeps of quiet network namespaces: together they cost at most
// two sweeps per second.
const minQuietSpacing = 500 * time.Millisecond

// sweepQuiet makes the finder sweep quiet network namespaces, in which no socket is due for a question or a destroy, if
// there are others: their sockets may be the other ends of connections. They are swept as often as the others, so that an
// end is known before the other end is due, or less often if there are many. With the bpf finder this costs nothing: its
// set has the sockets of all network namespaces.
func sweepQuiet(all map[netns.Identity]*registered) {
	var interval time.Duration
	var quiet []*registered
	for _, ns := range all {
		switch {
		case !ns.isSwept():
			quiet = append(quiet, ns)
		case interval == 0 || ns.Interval < interval:
			interval = ns.Interval
		}
	}
	if interval == 0 {
		return
	}
	interval = min(max(interval, time.Duration(len(quiet))*minQuietSpacing), time.Minute)
	for _, ns := range quiet {
		ns.Interval = interval
	}
}

// targets lists the network namespaces for the finder.
func (r *registry) targets() []finder.Netns {
	targets := make([]finder.Netns, 0, len(r.namespaces))
	for _, ns := range r.namespaces {
		if ns.isSwept() {
			targets = append(targets, ns.Netns)
		}
	}
	return targets
}
