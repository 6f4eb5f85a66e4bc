// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// Status returns the current state of the reaper.
func (r *Reaper) Status(ctx context.Context) (api.ReaperStatus, error) {
	var s api.ReaperStatus
	err := r.each(ctx, func(l *loop) { s = l.status() }, func(l *loop, ns *registered) { addNamespace(&s, l, ns, l.clock.Now()) })
	finishStatus(&s)
	s.History = r.historyView()
	return s, err
}

// read runs fn on the loop. Its error is ctx's, or api.ErrStopped if Run has returned.
func (r *Reaper) read(ctx context.Context, fn func(*loop)) error {
	if r.do(ctx, fn) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return api.ErrStopped
}

// maxLoopCandidates is the number of candidates after which a call that visits many of them returns: about a millisecond
// of the loop's time. It visits all candidates of a network namespace in the same call.
const maxLoopCandidates = 10_000

// each runs first on the loop, and then fn for each network namespace that is registered at that time, in several calls, so
// that the loop can serve deadlines in between.
func (r *Reaper) each(ctx context.Context, first func(*loop), fn func(*loop, *registered)) error {
	var ids []netns.Identity
	err := r.read(ctx, func(l *loop) {
		first(l)
		ids = slices.Collect(maps.Keys(l.registry.namespaces))
	})
	for err == nil && len(ids) > 0 {
		err = r.read(ctx, func(l *loop) {
			for counted := 0; len(ids) > 0 && counted < maxLoopCandidates; ids = ids[1:] {
				if ns := l.registry.namespaces[ids[0]]; ns != nil {
					fn(l, ns)
					counted += len(ns.candidates)
				}
			}
		})
	}
	return err
}

// status returns the parts of a status that do not depend on network namespaces.
func (l *loop) status() api.ReaperStatus {
	cost := l.finderCosts.total()
	s := api.ReaperStatus{
		Finder: api.FinderView{
			Name: l.finder.Name, Why: l.finder.Why, Known: l.finder.Known, Room: l.finder.Room, Missed: cost.Missed,
			Sweeps: l.sweeping.sweeps, CPU: api.Seconds(cost.CPU), Late: api.Seconds(l.sweeping.lag), Crowded: l.crowded(),
		},
		Mode:       l.caps.view,
		Budget:     api.BudgetView{PerSecond: l.cfg.MaxDestroysPerSecond, Waiting: l.tracker.budgetQ.Len()},
		Peers:      l.peers(),
		Namespaces: len(l.registry.namespaces), Unreachable: l.unreachable(), AgesLost: l.ages.lostWhy,
		Counts: l.allCounts(), PolicyFile: policyFileView(&l.registry.census.PolicyFile),
		// Empty instead of null in JSON.
		Attachments: []api.AttachmentView{}, Problems: []api.ProblemView{}, Refusals: []api.RefusalView{},
	}
	for _, b := range api.AgeBounds() {
		s.AgeBounds = append(s.AgeBounds, api.Seconds(b))
	}
	for _, i := range l.registry.census.Inert {
		view := api.AttachmentView{Mode: policy.Off, Inert: i.Reason, Candidates: map[string]int{}}
		s.Attachments = append(s.Attachments, attachmentView(view, i.Record, l.registry.census.PolicyFile.Resolve(i.Record.Layers, policyfile.FactsOf(&i.Record), l.cfg.MinGrace)))
	}
	for _, p := range l.registry.census.Problems {
		s.Problems = append(s.Problems, api.ProblemView{File: p.File, Problem: p.Err.Error()})
	}
	s.Refusals = append(s.Refusals, l.refusals()...)
	s.Adoption = l.adoption()
	s.Descriptors, s.Unwritable = l.descriptors(), l.unwritable()
	return s
}

func (l *loop) adoption() (v api.AdoptionView) {
	if l.cfg.Adoption != nil {
		v = l.cfg.Adoption()
	}
	return v
}

// addNamespace adds a network namespace to a status.
func addNamespace(s *api.ReaperStatus, l *loop, ns *registered, at monotime.Time) {
	view := api.AttachmentView{
		Mode: ns.mode(), Problem: ns.problem, Unreachable: ns.unreachable,
		Destroyed: ns.destroyed, WouldDestroy: ns.wouldDestroy,
	}
	if !ns.lastSweep.IsZero() {
		ago := api.Seconds(at.Sub(ns.lastSweep))
		view.Swept = &ago
	}
	if view.Problem == "" && len(ns.candidates) > 0 { // the next job ends it
		view.Problem = ns.jobProblem
	}
	counts := ns.countCandidates(l.tracker.canAsk, at)
	view.Ages, view.Oldest = counts.ages, api.Seconds(max(counts.closeWait, counts.finWait2))
	view.Candidates = view.Ages.Totals()
	s.Ages.Merge(&view.Ages)
	for i, rec := range ns.records {
		view := attachmentView(view, rec, ns.resolved[i])
		view.CappedBy = l.caps.cappedBy(ns, view.Policy.Mode)
		if view.Policy.Mode < policy.Observe {
			for _, h := range ns.blockers {
				view.BlockedBy = append(view.BlockedBy, api.ProblemView{File: h.File, Problem: h.Reason})
			}
		}
		s.Attachments = append(s.Attachments, view)
	}
}

// finishStatus computes the sums after all network namespaces have been added.
func finishStatus(s *api.ReaperStatus) {
	s.Candidates = s.Ages.Totals()
	sortAttachments(s.Attachments)
}

// attachmentView returns v with the fields of a record.
func attachmentView(v api.AttachmentView, r state.Record, resolved policy.Resolved) api.AttachmentView {
	v.Policy = api.PolicyView(resolved.Policies[len(resolved.Policies)-1])
	v.Attachment, v.Network, v.Pod, v.Netns = r.Attachment, r.Network, r.Pod, r.Netns.Path
	v.Recorded, v.Plugin, v.Sources = r.Time, r.Plugin, resolved.Sources
	v.Warnings = slices.Clone(r.Warnings)
	for _, p := range resolved.Problems { // a plugin of the same version has recorded them already
		if !slices.Contains(v.Warnings, p) {
			v.Warnings = append(v.Warnings, p)
		}
	}
	return v
}

// sortAttachments sorts by pod, container and interface.
func sortAttachments(list []api.AttachmentView) {
	slices.SortFunc(list, func(a, b api.AttachmentView) int {
		return compareAttachments(a.Pod, b.Pod, a.Attachment, b.Attachment)
	})
}

func compareAttachments(podA, podB state.Pod, a, b state.Attachment) int {
	return cmp.Or(
		cmp.Compare(podA.Namespace, podB.Namespace), cmp.Compare(podA.Name, podB.Name),
		cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
}

// errNotCounted is the error of Ready before the first census.
var errNotCounted = errors.New("the records have not been read yet")

// Counted returns a channel that is closed after the reaper has read the records for the first time.
func (r *Reaper) Counted() <-chan struct{} { return r.counted }

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
