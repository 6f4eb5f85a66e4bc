// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"reflect"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/namespace"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// registered is one network namespace with the attachments in it.
type registered struct {
	id      namespace.Identity
	records []state.Record
	policy  *policy.Policy // merged, graces no shorter than the reaper's minimum; replaced, never changed

	candidates              map[uint64]*candidate // by cookie
	destroyed, wouldDestroy uint64
	problem                 string // why the last sweep could not look into it
	swept                   monotime.Time
}

// target is what finders and the examiner need to know of it.
func (ns *registered) target() Target {
	t := Target{Identity: ns.id, Interval: sweepInterval(*ns.policy)}
	for _, r := range ns.records {
		if !slices.Contains(t.Paths, r.Netns.Path) {
			t.Paths = append(t.Paths, r.Netns.Path)
		}
	}
	return t
}

// sweepInterval is a quarter of the policy's shortest grace, within a second and a minute; zero where
// nothing is ever destroyed, so that there is nothing to look for.
func sweepInterval(p policy.Policy) time.Duration {
	shortest := min(p.CloseWaitGrace, p.FinWait2Grace)
	if p.Mode == policy.Off || shortest == policy.Never {
		return 0
	}
	return min(max(time.Duration(shortest)/4, time.Second), time.Minute)
}

// census is what is recorded on this node, and which of it can be acted on.
type census struct {
	records  []state.Record  // that can be acted on
	inert    []inertRecord   // that cannot, such as those whose namespace is gone
	problems []state.Problem // files that are no record
}

// inertRecord is a record that nothing is done about.
type inertRecord struct {
	record state.Record
	reason string
}

// registry knows the registered namespaces.
type registry struct {
	minGrace   time.Duration
	namespaces map[namespace.Identity]*registered
	census     census
}

func newRegistry(minGrace time.Duration) *registry {
	return &registry{minGrace: minGrace, namespaces: make(map[namespace.Identity]*registered)}
}

// update takes over a census. It returns the namespaces that are new, that are registered no longer, and
// whose policy is another one now.
func (r *registry) update(c census) (added, removed, changed []*registered) {
	r.census = c
	groups := make(map[namespace.Identity][]state.Record)
	for _, rec := range c.records {
		groups[rec.Netns.Identity] = append(groups[rec.Netns.Identity], rec)
	}
	for id, ns := range r.namespaces {
		if groups[id] == nil {
			delete(r.namespaces, id)
			removed = append(removed, ns)
		}
	}
	for id, records := range groups {
		merged := r.merge(records)
		ns := r.namespaces[id]
		switch {
		case ns == nil:
			ns = &registered{id: id, candidates: make(map[uint64]*candidate)}
			r.namespaces[id] = ns
			added = append(added, ns)
		case !reflect.DeepEqual(*ns.policy, merged):
			changed = append(changed, ns)
		}
		ns.records, ns.policy = records, &merged
	}
	return added, removed, changed
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
func (r *registry) targets() []Target {
	targets := make([]Target, 0, len(r.namespaces))
	for _, ns := range r.namespaces {
		if t := ns.target(); t.Interval > 0 {
			targets = append(targets, t)
		}
	}
	return targets
}
