// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// entry is a file of the attachments directory. It is replaced, never changed.
type entry struct {
	name     string
	record   *state.Record // that applies; nil without one
	inert    *Inert        // record without effect; nil if it is active
	resolved policy.Resolved
	problem  *state.Problem
	hold     *state.Hold    // on a netns, since the file has a problem or its record is inert // prose:ok: a noun
	since    monotime.Time  // since when it may be pruned after a while; zero if it must not be
	leadsTo  netns.Identity // what an active record's path led to; zero if it could not be opened
	noticed  string         // the warning that was logged about it
}

func (e *entry) isActive() bool { return e.record != nil && e.inert == nil }

// roll has the files of the attachments directory, and knows which network namespaces have changed since the last update. It
// does no I/O and reads no clock.
type roll struct {
	entries  map[string]*entry // by file name
	active   *index[netns.Identity, *entry]
	held     *index[string, state.Hold] // by file name
	unlisted *state.Hold                // on each netns, since the directory cannot be listed; nil if it can
	mistakes int
	count    int                 // active entries
	idle     map[string]struct{} // the names of the entries that are not active or have a problem

	dirty     map[netns.Identity]struct{}
	isChanged bool // the summary
	relist    bool // its lists too
	summary   Summary
}

func newRoll() *roll {
	return &roll{
		entries: make(map[string]*entry), active: newIndex[netns.Identity, *entry](), held: newIndex[string, state.Hold](),
		idle: make(map[string]struct{}), dirty: make(map[netns.Identity]struct{}),
	}
}

// set replaces the entry of a file, or adds it.
func (r *roll) set(e *entry) {
	r.remove(e.name)
	r.entries[e.name] = e
	r.isChanged = true
	if e.isActive() {
		id := e.record.Netns.Identity
		r.active.add(state.KeyOf(id), id, e)
		r.dirty[id] = struct{}{}
		r.count++
		if len(e.record.Warnings) > 0 {
			r.mistakes++
		}
	}
	if !e.isActive() || e.problem != nil {
		r.idle[e.name] = struct{}{}
		r.relist = true
	}
	if e.hold != nil {
		r.held.add(e.hold.Netns, e.name, *e.hold)
		r.markHeld(e.hold)
	}
}

// remove forgets a file.
func (r *roll) remove(name string) {
	e := r.entries[name]
	if e == nil {
		return
	}
	delete(r.entries, name)
	if _, ok := r.idle[name]; ok {
		delete(r.idle, name)
		r.relist = true
	}
	r.isChanged = true
	if e.isActive() {
		id := e.record.Netns.Identity
		r.active.remove(state.KeyOf(id), id, func(other *entry) bool { return other == e })
		r.dirty[id] = struct{}{}
		r.count--
		if len(e.record.Warnings) > 0 {
			r.mistakes--
		}
	}
	if e.hold != nil {
		r.held.remove(e.hold.Netns, e.name, func(state.Hold) bool { return true })
		r.markHeld(e.hold)
	}
}

// markHeld marks the network namespaces that a hold names as changed.
func (r *roll) markHeld(h *state.Hold) {
	for id := range r.active.named(h.Netns) {
		if h.Names(id) {
			r.dirty[id] = struct{}{}
		}
	}
}

// isRegistered reports whether an active record has the netns of a hold.
func (r *roll) isRegistered(h *state.Hold) bool {
	for id := range r.active.named(h.Netns) {
		if h.Names(id) {
			return true
		}
	}
	return false
}

// setUnlisted sets why the directory dir could not be listed; nil if it could. New records are then unknown, and every netns is
// capped at observe.
func (r *roll) setUnlisted(dir string, err error) {
	if err == nil && r.unlisted == nil {
		return
	}
	r.isChanged, r.relist = true, true
	was := r.unlisted
	r.unlisted = nil
	if err != nil {
		r.unlisted = &state.Hold{File: dir, Reason: err.Error()}
	}
	if was == nil || r.unlisted == nil || *was != *r.unlisted {
		for id := range r.active.values {
			r.dirty[id] = struct{}{}
		}
	}
}

func (r *roll) setPolicyFile(c policyfile.Current) {
	r.summary.PolicyFile, r.isChanged = c, true
}

// holdsOn returns the files that cap a netns at observe, sorted by name: unreadable and inert ones whose names carry it, or the
// whole directory if that cannot be listed.
func (r *roll) holdsOn(id netns.Identity) (holds []state.Hold) {
	for file := range r.held.named(state.KeyOf(id)) {
		for _, h := range r.held.values[file] {
			if h.Names(id) {
				holds = append(holds, h)
			}
		}
	}
	slices.SortFunc(holds, func(a, b state.Hold) int { return cmp.Compare(a.File, b.File) })
	if r.unlisted != nil {
		h := *r.unlisted
		h.Netns = state.KeyOf(id)
		holds = slices.Insert(holds, 0, h)
	}
	return holds
}

// update returns the changes since the last update, and whether there are any.
func (r *roll) update() (u Update, isChanged bool) {
	if len(r.dirty) == 0 && !r.isChanged {
		return Update{Summary: r.summary}, false
	}
	for id := range r.dirty {
		u.Namespaces = append(u.Namespaces, r.namespace(id))
	}
	clear(r.dirty)
	r.summarize()
	u.Summary = r.summary
	return u, true
}

func (r *roll) namespace(id netns.Identity) Namespace {
	n := Namespace{Identity: id}
	entries := slices.Clone(r.active.values[id])
	if len(entries) == 0 {
		return n
	}
	slices.SortFunc(entries, func(a, b *entry) int { return state.CompareRecords(*a.record, *b.record) })
	for _, e := range entries {
		n.Records, n.Resolved = append(n.Records, *e.record), append(n.Resolved, e.resolved)
	}
	n.Holds = r.holdsOn(id)
	return n
}

// summarize computes the summary again.
func (r *roll) summarize() {
	if r.relist {
		r.summary.Inert, r.summary.Problems = nil, nil
		if r.unlisted != nil {
			r.summary.Problems = append(r.summary.Problems, state.Problem{File: r.unlisted.File, Err: errors.New(r.unlisted.Reason)})
		}
		for _, name := range slices.Sorted(maps.Keys(r.idle)) {
			e := r.entries[name]
			if e.inert != nil {
				r.summary.Inert = append(r.summary.Inert, *e.inert)
			}
			if e.problem != nil {
				r.summary.Problems = append(r.summary.Problems, *e.problem)
			}
		}
		slices.SortFunc(r.summary.Inert, func(a, b Inert) int { return state.CompareRecords(a.Record, b.Record) })
	}
	r.summary.Active, r.summary.Mistakes = r.count, r.mistakes+len(r.summary.Problems)
	r.isChanged, r.relist = false, false
}
