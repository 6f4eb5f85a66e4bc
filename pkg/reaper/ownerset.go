// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// ownerSet has the owners of one or more candidates, as a look-up found them.
type ownerSet struct {
	list     []owners.Process // shared with the history and its readers: immutable
	facts    []policy.Owner   // of the owners that exist
	complete bool             // there are no others
	// diesOfSigpipe reports for each of list whether SIGPIPE kills it, or may.
	diesOfSigpipe []bool
	// descriptors is list with TID and FD; nil if they were not looked up.
	descriptors []owners.Process

	frozenTime time.Duration  // for which all of them have been frozen together, at most
	cgroups    []frozenCgroup // of the owners that exist; nil if the kernel does not count for each of them
	at         monotime.Time  // of the look-up
	until      monotime.Time  // from then on the owners count as unknown
}

// frozenCgroup is for how long a cgroup has been frozen.
type frozenCgroup struct {
	inode  uint64
	frozen time.Duration
}

// newOwnerSet returns the owners of a socket that a look-up found; whole reports that there are no others.
func newOwnerSet(k *ownerLookup, list []owners.Process, whole bool, at monotime.Time, lifetime time.Duration) *ownerSet {
	h := &ownerSet{list: list, at: at, until: at.Add(lifetime), complete: whole}
	if k.query.Descriptors {
		h.descriptors, h.list = list, slices.Clone(list)
		for i := range h.list {
			h.list[i].TID, h.list[i].FD = 0, 0
		}
	}
	h.setConditions(k.conditions)
	return h
}

// setConditions derives the facts from the conditions of the owners. An owner whose condition cannot be read counts as
// running: if cgroups are hidden from the reaper, no socket would ever be destroyed otherwise. Next to a frozen owner, and
// without a running one, it counts as frozen. An owner that has exited does not count; if none remains, another process
// may have the socket now, and the next look-up is due at once.
func (h *ownerSet) setConditions(conditions map[int]owners.Condition) {
	hasExited, isUnread := false, make([]bool, 0, len(h.list))
	hasFrozen, hasRunning, isCounted := false, false, true
	for _, p := range h.list {
		c := conditions[p.PID]
		h.diesOfSigpipe = append(h.diesOfSigpipe, c.Sigpipe != owners.SigpipeIgnored)
		if c.Exited {
			hasExited = true
			continue
		}
		if len(h.facts) == 0 || c.FrozenTime < h.frozenTime {
			h.frozenTime = c.FrozenTime
		}
		isCounted = isCounted && c.HasFrozenTime
		if g := (frozenCgroup{c.Cgroup, c.FrozenTime}); !slices.ContainsFunc(h.cgroups, func(o frozenCgroup) bool { return o.inode == g.inode }) {
			h.cgroups = append(h.cgroups, g)
		}
		o := policy.Owner{
			Command: p.Command, Frozen: c.Pause == owners.Frozen || c.Pause == owners.Stopped,
			DiesOfSigpipe: c.Sigpipe != owners.SigpipeIgnored,
		}
		unread := c.Pause == owners.PauseUnknown
		hasFrozen, hasRunning = hasFrozen || o.Frozen, hasRunning || !o.Frozen && !unread
		h.facts, isUnread = append(h.facts, o), append(isUnread, unread)
	}
	for i := range h.facts {
		h.facts[i].Frozen = h.facts[i].Frozen || isUnread[i] && hasFrozen && !hasRunning
	}
	if !isCounted {
		h.cgroups = nil
	}
	switch {
	case hasExited && len(h.facts) == 0:
		h.complete, h.until = false, h.at
	case h.areAllFrozen(): // their sockets are not due, so no sample reads whether they run again
		h.until = min(h.until, h.at.Add(ownersLifetime))
	}
}

// withConditions returns the same owners with newer conditions. The owners expire when they did before, unless they have exited or are
// frozen.
func (h *ownerSet) withConditions(conditions map[int]owners.Condition, at monotime.Time) *ownerSet {
	n := &ownerSet{list: h.list, descriptors: h.descriptors, complete: h.complete, at: at, until: h.until}
	n.setConditions(conditions)
	return n
}

// isKnown reports whether there has been a look-up that has not expired.
func (h *ownerSet) isKnown(at monotime.Time) bool { return h != nil && at.Before(h.until) }

// areAllFrozen reports whether there are owners, and none can run.
func (h *ownerSet) areAllFrozen() bool {
	return h != nil && len(h.facts) > 0 && !slices.ContainsFunc(h.facts, func(o policy.Owner) bool { return !o.Frozen })
}

// haveAllExited reports whether there were owners, and none exists any more.
func (h *ownerSet) haveAllExited() bool { return h != nil && len(h.list) > 0 && len(h.facts) == 0 }

// frozenSince returns for how long all owners were frozen since another reading, at most. ok reports that the kernel has counted it
// for the cgroup of each at both readings.
func (h *ownerSet) frozenSince(before *ownerSet) (d time.Duration, ok bool) {
	if h == nil || before == nil || len(h.cgroups) == 0 {
		return 0, false
	}
	for i, g := range h.cgroups {
		j := slices.IndexFunc(before.cgroups, func(b frozenCgroup) bool { return b.inode == g.inode })
		if j < 0 {
			return 0, false
		}
		if since := g.frozen - before.cgroups[j].frozen; i == 0 || since < d {
			d = since
		}
	}
	return d, true
}

// wereFrozenSince reports whether the kernel counts that all owners were frozen since another reading of them.
func (h *ownerSet) wereFrozenSince(before *ownerSet) bool {
	d, ok := h.frozenSince(before)
	return ok && d > 0
}

// maxReadDelay is how late a reading of the owners' conditions may be, whatever the patience: the machine may be busy.
const maxReadDelay = 10 * time.Second

// maxUnreadTime returns how far apart two readings of the owners' conditions may be, so that the time between them counts as idle.
// Usually they are a quarter of the patience apart.
func (c *candidate) maxUnreadTime() time.Duration {
	return max(c.verdict.deadline.Sub(c.verdict.start), 0)/2 + maxReadDelay
}

// knowsOwners reports whether a candidate's owners have been looked up, and whether their conditions are read often enough. Otherwise
// they are looked up before a destroy.
func (t *tracker) knowsOwners(c *candidate, at monotime.Time) bool {
	if !c.owners.isKnown(at) || !t.readsConditions || len(c.owners.facts) == 0 || c.verdict.deadline.IsZero() {
		return c.owners.isKnown(at)
	}
	return at.Sub(c.owners.at) <= c.maxUnreadTime()
}

// excludeFrozenTime excludes from a candidate's idle time the time for which its owners were frozen. The kernel counts that time
// per cgroup, and also before this connection: which part counts is known only since a reading before. Where it does not count, owners
// that were found frozen and run now have the whole patience before them. So have owners whose conditions were not read for too long
// under these policies, although the reaper reads them: they may have been frozen.
func (t *tracker) excludeFrozenTime(c *candidate, before *ownerSet, at monotime.Time) {
	start := c.history.IdleStart(policy.ClockProgress)
	idle := at.Sub(start)
	hasBefore := before != nil && len(before.facts) > 0
	frozen, isSince := c.owners.frozenSince(before)
	if !isSince {
		frozen = c.owners.frozenTime - c.history.Frozen
		if hasBefore { // of other cgroups: all since then may be a part of it
			frozen = max(frozen, min(c.owners.frozenTime, at.Sub(before.at)))
		}
	}
	since := max(start, c.ns.policiesAt)
	if hasBefore {
		since = max(since, before.at)
	}
	unread := at.Sub(since)
	switch {
	case before.areAllFrozen():
		frozen = max(frozen, idle)
	case t.readsConditions && !c.verdict.deadline.IsZero() && len(c.owners.facts) > 0 && unread > c.maxUnreadTime():
		frozen = max(frozen, unread)
	}
	counted := max(min(frozen, idle), 0) // idle is below 0 if the idle time starts later, by what was excluded before
	c.history.AddFrozen(counted)
	c.history.AddFrozenBefore(min(frozen-counted, at.Sub(c.history.IdleStart(policy.ClockState))))
}
