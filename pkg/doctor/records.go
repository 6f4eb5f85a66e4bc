// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// records is what is recorded on this node, and where its paths lead here.
type records struct {
	err      error // why they are not known
	root     hostfs.Dir
	boot     string
	list     []recorded
	problems []state.Problem
	holds    []state.Hold // those of the problems that keep a netns from being more than observed (prose:ok: a noun)
}

// recorded is a record and what its path leads to.
type recorded struct {
	state.Record
	open  error // of opening the path
	at    netns.Identity
	lives bool // its netns is there, though the path does not lead to it
}

func inspectRecords(ctx context.Context, store *state.Store, root string) records {
	r := records{root: hostfs.Dir(root)}
	listing, err := store.List(ctx)
	if err != nil {
		r.err = err
		return r
	}
	r.problems, r.holds = listing.Problems, listing.Holds
	if r.boot, r.err = netns.BootID(); r.err != nil {
		return r
	}
	below, err := netns.NewRoot(root)
	if err != nil {
		r.err = err
		return r
	}
	defer below.Close()
	var liveness *netns.Liveness
	for _, rec := range listing.Records {
		seen := inspectPath(below, rec)
		if fate := r.fate(seen); fate == gone || fate == moved {
			if liveness == nil {
				liveness = netns.NewLiveness()
			}
			ended, err := liveness.Ended(rec.Netns.Identity)
			seen.lives = !ended && err == nil
		}
		r.list = append(r.list, seen)
	}
	return r
}

func inspectPath(root *netns.Root, rec state.Record) recorded {
	h, err := root.Open(rec.Netns.Path)
	if err != nil {
		return recorded{Record: rec, open: err}
	}
	defer h.Close()
	return recorded{Record: rec, at: h.Stat()}
}

// fate is what can be done about a record.
type fate int

const (
	usable    fate = iota
	otherBoot      // it is of another boot
	gone           // there is nothing at its path
	moved          // another namespace is at its path
	unreached      // as gone and moved, but its netns lives
	hidden         // the path is there, but the namespace's mount is not seen
	closed         // the path cannot be looked at
)

func (r records) fate(rec recorded) fate {
	switch {
	case rec.Inert(r.boot):
		return otherBoot
	case rec.lives:
		return unreached
	case errors.Is(rec.open, netns.ErrNotNamespace):
		return hidden
	case errors.Is(rec.open, fs.ErrNotExist):
		return gone
	case rec.open != nil:
		return closed
	case !rec.at.Same(rec.Netns.Identity):
		return moved
	}
	return usable
}

// of returns the records that have met one of the fates.
func (r records) of(fates ...fate) []recorded {
	var some []recorded
	for _, rec := range r.list {
		for _, f := range fates {
			if r.fate(rec) == f {
				some = append(some, rec)
			}
		}
	}
	return some
}

// usable returns the records that a reaper here can act on.
func (r records) usable() []recorded { return r.of(usable) }

// intervals is how often the reaper looks at each registered network namespace, by the policies of all its attachments.
func (r records) intervals() []time.Duration {
	policies := make(map[netns.Identity][]policy.Policy)
	for _, rec := range r.usable() {
		policies[rec.Netns.Identity] = append(policies[rec.Netns.Identity], rec.Layers.Resolve(0).Policies...)
	}
	var all []time.Duration
	for _, p := range policies {
		if i := finder.SweepInterval(p); i > 0 {
			all = append(all, i)
		}
	}
	return all
}
