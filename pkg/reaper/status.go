// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Status is what the reaper does and for whom.
type Status struct {
	Finder      FinderView       `json:"finder"`
	Mode        ModeView         `json:"mode"`
	Budget      BudgetView       `json:"budget"`
	Namespaces  int              `json:"namespaces"`
	Candidates  map[string]int   `json:"candidates"` // by state
	Counts      Counts           `json:"counts"`
	Attachments []AttachmentView `json:"attachments"`
	// Problems are files in the state directory that are no record.
	Problems []ProblemView `json:"problems"`
}

// FinderView is how the finder keeps up.
type FinderView struct {
	Name   string  `json:"name"`
	Sweeps uint64  `json:"sweeps"` // of one namespace each
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
	Network string         `json:"network"`
	Pod     state.Pod      `json:"pod"`
	Netns   string         `json:"netns"`
	Policy  PolicyView     `json:"policy"` // merged with those of other attachments in the namespace
	Sources policy.Sources `json:"sources,omitempty"`
	// Mode is what happens, CappedBy what makes it more careful than the policy's.
	Mode     policy.Mode `json:"mode"`
	CappedBy []string    `json:"cappedBy,omitempty"`
	// Inert says why nothing is done about this attachment, "" if something is.
	Inert        string         `json:"inert,omitempty"`
	Warnings     []string       `json:"warnings,omitempty"`
	Problem      string         `json:"problem,omitempty"` // of the last look into the namespace
	Candidates   map[string]int `json:"candidates"`
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
	err := r.read(ctx, func(l *loop) { s = l.status() })
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

func (l *loop) status() Status {
	s := Status{
		Finder: FinderView{
			Name: l.cfg.Finder.Name(), Sweeps: l.sweeping.sweeps, CPU: Seconds(l.sweeping.cpu), Late: Seconds(l.sweeping.late),
		},
		Mode:       l.caps.view,
		Budget:     BudgetView{PerSecond: l.cfg.MaxDestroysPerSecond, Waiting: l.held.count},
		Namespaces: len(l.registry.namespaces),
		Candidates: map[string]int{inetdiag.CloseWait.String(): 0, inetdiag.FinWait2.String(): 0},
		Counts:     l.counts.clone(),
		// Never null: a list may be empty.
		Attachments: []AttachmentView{}, Problems: []ProblemView{},
	}
	at := now()
	for _, ns := range l.registry.namespaces {
		view := AttachmentView{
			Policy: PolicyView(*ns.policy), Mode: l.caps.effective(ns), CappedBy: l.caps.capped(ns), Problem: ns.problem,
			Candidates: map[string]int{inetdiag.CloseWait.String(): 0, inetdiag.FinWait2.String(): 0},
			Destroyed:  ns.destroyed, WouldDestroy: ns.wouldDestroy,
		}
		if !ns.swept.IsZero() {
			ago := Seconds(at.Sub(ns.swept))
			view.Swept = &ago
		}
		for _, c := range ns.candidates {
			if !c.history.Owned {
				continue
			}
			view.Candidates[c.history.State.String()]++
			s.Candidates[c.history.State.String()]++
			view.Oldest = max(view.Oldest, Seconds(at.Sub(c.history.Since)))
		}
		for _, rec := range ns.records {
			s.Attachments = append(s.Attachments, view.of(rec))
		}
	}
	for _, i := range l.registry.census.inert {
		view := AttachmentView{Policy: PolicyView(i.record.Policy), Mode: policy.Off, Inert: i.reason, Candidates: map[string]int{}}
		s.Attachments = append(s.Attachments, view.of(i.record))
	}
	for _, p := range l.registry.census.problems {
		s.Problems = append(s.Problems, ProblemView{p.File, p.Err.Error()})
	}
	sortAttachments(s.Attachments)
	return s
}

// of fills in what is the record's own.
func (v AttachmentView) of(r state.Record) AttachmentView {
	v.Attachment, v.Network, v.Pod, v.Netns = r.Attachment, r.Network, r.Pod, r.Netns.Path
	v.Sources, v.Warnings = r.Sources, r.Warnings
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
