// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/census"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// registered is a registered network namespace with its attachments and candidates.
type registered struct {
	finder.Netns               // for finder and examiner; replaced, never changed
	own           finder.Netns // without the effect of other network namespaces
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
	jobProblem              string        // error of the last job of the examiner, "" if there was none
	tried                   bool          // a trial has entered it, or failed to
	unreachable             string        // why it could not be entered at the last attempt
	registeredAt            monotime.Time // by this reaper
	policiesAt              monotime.Time // since then it has these policies
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
	sample     time.Duration // Config.Sample
	namespaces map[netns.Identity]*registered
	census     census.Summary
	intervals  map[time.Duration]int // how many network namespaces have each interval, without the quiet ones
	quiet      map[netns.Identity]*registered
	quietEvery time.Duration // the interval of the quiet ones
}

func newRegistry() *registry {
	return &registry{
		namespaces: make(map[netns.Identity]*registered), intervals: make(map[time.Duration]int), quiet: make(map[netns.Identity]*registered),
	}
}

// changes are the effects of a census.
type changes struct {
	removed  []*registered
	repolicy []*registered // policies or the cap at observe changed, or it is no longer swept
	changed  []*registered // all that are registered, and new or changed in any way
	targets  bool          // the finder's set of network namespaces changed
}

// update registers and unregisters network namespaces according to a census. It does nothing about the others.
func (r *registry) update(u *census.Update, now monotime.Time) (ch changes) {
	r.census = u.Summary
	for i := range u.Namespaces {
		n := &u.Namespaces[i]
		ns := r.namespaces[n.Identity]
		if ns != nil {
			r.uncount(ns)
		}
		switch {
		case len(n.Records) > 0 && ns != nil:
			if ns.take(n) {
				ns.policiesAt = now
				ch.repolicy = append(ch.repolicy, ns)
			}
		case len(n.Records) > 0:
			ns = &registered{candidates: make(map[uint64]*candidate), registeredAt: now, policiesAt: now}
			ns.take(n)
			r.namespaces[n.Identity], ch.targets = ns, true
		case ns != nil:
			delete(r.namespaces, n.Identity)
			ch.removed, ch.targets = append(ch.removed, ns), true
			continue
		default:
			continue
		}
		r.count(ns)
		ch.changed = append(ch.changed, ns)
	}
	was := r.quietEvery
	r.quietEvery = r.quietInterval()
	for _, ns := range ch.changed {
		r.setTarget(ns, &ch)
	}
	if r.quietEvery != was {
		for _, ns := range r.quiet {
			if r.setTarget(ns, &ch) {
				ch.changed = append(ch.changed, ns)
			}
		}
	}
	return ch
}

// take takes over a network namespace from a census, except for the fields that depend on other ones. It reports whether its candidates
// must be judged again.
func (ns *registered) take(n *census.Namespace) (isRejudged bool) {
	was, wasBlocked := ns.policies, len(ns.blockers) > 0
	ns.longest = max(ns.longest, longestPatience(was))
	ns.records, ns.resolved, ns.blockers, ns.policies = n.Records, n.Resolved, n.Holds, nil
	for i := range n.Resolved {
		for _, p := range n.Resolved[i].Policies {
			if !slices.ContainsFunc(ns.policies, func(q policy.Policy) bool { return reflect.DeepEqual(p, q) }) {
				ns.policies = append(ns.policies, p) // the attachments of a pod usually have the same policy
			}
		}
	}
	ns.namesCommands = slices.ContainsFunc(ns.policies, namesCommands)
	ns.own = finder.NewNetns(n.Identity, paths(n.Records), ns.policies)
	for _, r := range n.Records {
		if r.Time.After(ns.own.Recorded) {
			ns.own.Recorded = r.Time
		}
	}
	return was != nil && (!reflect.DeepEqual(was, ns.policies) || wasBlocked != (len(ns.blockers) > 0))
}

// count adds a network namespace to the figures for quietInterval, and uncount removes it.
func (r *registry) count(ns *registered) {
	if ns.own.Interval > 0 {
		r.intervals[ns.own.Interval]++
	} else {
		r.quiet[ns.own.Identity] = ns
	}
}

func (r *registry) uncount(ns *registered) {
	if ns.own.Interval == 0 {
		delete(r.quiet, ns.own.Identity)
	} else if r.intervals[ns.own.Interval]--; r.intervals[ns.own.Interval] == 0 {
		delete(r.intervals, ns.own.Interval)
	}
}

// setTarget computes what the finder does with a network namespace, and reports whether that has changed.
func (r *registry) setTarget(ns *registered, ch *changes) (isChanged bool) {
	n, wasSwept := ns.own, ns.isSwept()
	if n.Interval == 0 {
		n.Interval = r.quietEvery
	}
	if n.Interval > 0 && r.sample > 0 {
		sampleLooks(&n, r.sample)
	}
	if reflect.DeepEqual(ns.Netns, n) {
		return false
	}
	ns.Netns, ch.targets = n, true
	if wasSwept && !ns.isSwept() && !slices.Contains(ch.repolicy, ns) {
		ch.repolicy = append(ch.repolicy, ns)
	}
	return true
}

// namesCommands reports whether any rule or exemption of a policy matches commands.
func namesCommands(p policy.Policy) bool {
	return slices.ContainsFunc(p.Exempt, func(m policy.Match) bool { return len(m.Commands) > 0 }) ||
		slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return len(r.Match.Commands) > 0 })
}

// minQuietSpacing is the minimum mean time between two sweeps of quiet network namespaces: together they cost at most
// two sweeps per second.
const minQuietSpacing = 500 * time.Millisecond

// quietInterval returns how often the finder sweeps quiet network namespaces, in which no socket is due for a question or a
// destroy; 0 if there are no others. Their sockets may be the other ends of connections. They are swept as often as the others, so
// that an end is known before the other end is due, or less often if there are many. With the bpf finder this costs nothing:
// its set has the sockets of all network namespaces.
func (r *registry) quietInterval() time.Duration {
	if len(r.intervals) == 0 {
		return 0
	}
	shortest := slices.Min(slices.Collect(maps.Keys(r.intervals)))
	return min(max(shortest, time.Duration(len(r.quiet))*minQuietSpacing), time.Minute)
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
