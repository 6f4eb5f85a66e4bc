// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Status is what the reaper does and for whom.
type Status struct {
	Finder      FinderView       `json:"finder"`
	Mode        ModeView         `json:"mode"`
	Budget      BudgetView       `json:"budget"`
	Namespaces  int              `json:"namespaces"`
	Candidates  map[string]int   `json:"candidates"`       // by state
	AgeBounds   []Seconds        `json:"ageBoundsSeconds"` // where the buckets of all Ages end
	Ages        Ages             `json:"ages"`
	Counts      Counts           `json:"counts"`
	Attachments []AttachmentView `json:"attachments"`
	// Problems are files in the state directory that are no record.
	Problems []ProblemView `json:"problems"`
}

// FinderView is how the finder keeps up.
type FinderView struct {
	Name string `json:"name"` // of what does the work now: sockdiag or bpf
	// Why says why the work is not all done by the finder that costs least, "" where there is nothing to say.
	Why string `json:"why,omitempty"`
	// Known is how many sockets the set has that the kernel keeps for the bpf finder, Room how many it can have.
	Known  int     `json:"known,omitempty"`
	Room   int     `json:"room,omitempty"`
	Missed uint64  `json:"missed,omitempty"` // sockets that the kernel should have told of and did not
	Sweeps uint64  `json:"sweeps"`           // of one namespace each, or of all at once
	CPU    Seconds `json:"cpuSeconds"`
	// Late is how far sweeping lags behind what the graces ask for, 0 while it keeps up.
	Late Seconds `json:"lateSeconds"`
}

// BudgetView is the bound on destroys, and what waits for it.
type BudgetView struct {
	PerSecond int `json:"destroysPerSecond"` // 0: no bound
	Waiting   int `json:"waiting"`
}

// AttachmentView is one attachment, what applies to it and what was found in its namespace. Attachments of
// one namespace share the latter.
type AttachmentView struct {
	state.Attachment
	Network string    `json:"network"`
	Pod     state.Pod `json:"pod"`
	Netns   string    `json:"netns"`
	// Recorded is when the record was written, by the wall clock.
	Recorded time.Time `json:"recorded"`
	// Plugin is the build of the plugin that wrote the record; zero where another program did, or one that did not say.
	Plugin  buildinfo.Build `json:"plugin,omitzero"`
	Policy  PolicyView      `json:"policy"` // merged with those of other attachments in the namespace
	Sources policy.Sources  `json:"sources,omitempty"`
	// Mode is what happens, CappedBy what makes it more careful than the policy's.
	Mode     policy.Mode `json:"mode"`
	CappedBy []string    `json:"cappedBy,omitempty"`
	// Inert says why nothing is done about this attachment, "" if something is.
	Inert        string         `json:"inert,omitempty"`
	Warnings     []string       `json:"warnings,omitempty"`
	Problem      string         `json:"problem,omitempty"` // of the last look into the namespace
	Candidates   map[string]int `json:"candidates"`
	Ages         Ages           `json:"ages,omitzero"` // absent without candidates
	Oldest       Seconds        `json:"oldestSeconds"`
	Destroyed    uint64         `json:"destroyed"`
	WouldDestroy uint64         `json:"wouldDestroy"`
	Swept        *Seconds       `json:"sweptSecondsAgo,omitempty"`
}

// PolicyView is a policy to look at. Unlike one that is read from a record it may be of any size: it may be
// merged from those of many attachments.
type PolicyView policy.Policy

// ProblemView is a file that is no record.
type ProblemView struct {
	File    string `json:"file"`
	Problem string `json:"problem"`
}

// Status returns what the reaper does now.
func (r *Reaper) Status(ctx context.Context) (Status, error) {
	var s Status
	err := r.each(ctx, func(l *loop) { s = l.status() }, func(l *loop, ns *registered) { s.add(l, ns, now()) })
	s.finish()
	return s, err
}

// read runs fn on the loop.
func (r *Reaper) read(ctx context.Context, fn func(*loop)) error {
	if r.do(ctx, fn) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrStopped
}

// atOnce is how many candidates are counted at once, which takes the loop about a millisecond.
const atOnce = 10_000

// each runs first on the loop, and then fn for each namespace that is registered by then. In between the loop has
// time for its deadlines.
func (r *Reaper) each(ctx context.Context, first func(*loop), fn func(*loop, *registered)) error {
	var ids []netns.Identity
	err := r.read(ctx, func(l *loop) {
		first(l)
		ids = slices.Collect(maps.Keys(l.registry.namespaces))
	})
	for err == nil && len(ids) > 0 {
		err = r.read(ctx, func(l *loop) {
			for counted := 0; len(ids) > 0 && counted < atOnce; ids = ids[1:] {
				if ns := l.registry.namespaces[ids[0]]; ns != nil {
					fn(l, ns)
					counted += len(ns.candidates)
				}
			}
		})
	}
	return err
}

// status is what does not depend on any namespace.
func (l *loop) status() Status {
	s := Status{
		Finder: FinderView{
			Name: l.finder.Name, Why: l.finder.Why, Known: l.finder.Known, Room: l.finder.Room, Missed: l.tally.missed,
			Sweeps: l.sweeping.sweeps, CPU: Seconds(l.sweeping.cpu), Late: Seconds(l.sweeping.late),
		},
		Mode:       l.caps.view,
		Budget:     BudgetView{PerSecond: l.cfg.MaxDestroysPerSecond, Waiting: l.held.count},
		Namespaces: len(l.registry.namespaces),
		Counts:     l.counts.clone(),
		// Never null: a list may be empty.
		Attachments: []AttachmentView{}, Problems: []ProblemView{},
	}
	for _, b := range ageBounds() {
		s.AgeBounds = append(s.AgeBounds, Seconds(b))
	}
	for _, i := range l.registry.census.inert {
		view := AttachmentView{Policy: PolicyView(i.record.Policy), Mode: policy.Off, Inert: i.reason, Candidates: map[string]int{}}
		s.Attachments = append(s.Attachments, view.of(i.record))
	}
	for _, p := range l.registry.census.problems {
		s.Problems = append(s.Problems, ProblemView{p.File, p.Err.Error()})
	}
	return s
}

// add adds a namespace.
func (s *Status) add(l *loop, ns *registered, at monotime.Time) {
	view := AttachmentView{
		Policy: PolicyView(*ns.policy), Mode: l.caps.effective(ns), CappedBy: l.caps.capped(ns), Problem: ns.problem,
		Destroyed: ns.destroyed, WouldDestroy: ns.wouldDestroy,
	}
	if !ns.swept.IsZero() {
		ago := Seconds(at.Sub(ns.swept))
		view.Swept = &ago
	}
	bounds := ageBounds()
	for _, c := range ns.candidates {
		if !c.history.Owned {
			continue
		}
		age := at.Sub(c.history.Since)
		view.Ages.of(c.history.State).add(age, c.overdue(at), &bounds)
		view.Oldest = max(view.Oldest, Seconds(age))
	}
	view.Candidates = view.Ages.totals()
	s.Ages.merge(&view.Ages)
	for _, rec := range ns.records {
		s.Attachments = append(s.Attachments, view.of(rec))
	}
}

// finish sums up, once all namespaces have been added.
func (s *Status) finish() {
	s.Candidates = s.Ages.totals()
	sortAttachments(s.Attachments)
}

// of fills in what is the record's own.
func (v AttachmentView) of(r state.Record) AttachmentView {
	v.Attachment, v.Network, v.Pod, v.Netns = r.Attachment, r.Network, r.Pod, r.Netns.Path
	v.Recorded, v.Plugin, v.Sources, v.Warnings = r.Time, r.Plugin, r.Sources, r.Warnings
	return v
}

// sortAttachments puts them in an order that stays: by pod, then by container and interface.
func sortAttachments(list []AttachmentView) {
	slices.SortFunc(list, func(a, b AttachmentView) int {
		return cmp.Or(
			cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name),
			cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
	})
}

// errNotCounted is what Ready returns before the first census.
var errNotCounted = errors.New("the records have not been read yet")

// Ready returns nil once the records have been read.
func (r *Reaper) Ready(ctx context.Context) error {
	ready := false
	if err := r.read(ctx, func(l *loop) { ready = l.ready }); err != nil {
		return err
	}
	if !ready {
		return errNotCounted
	}
	return nil
}
