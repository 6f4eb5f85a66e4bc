// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// policyFileView returns the policy file for the status.
func policyFileView(c *policyfile.Current) api.PolicyFileView {
	v := api.PolicyFileView{
		Path: c.Path, Since: c.Since, SHA256: c.Digest, Errors: len(c.Problems), CopyProblem: c.CopyProblem, State: api.PolicyFileAbsent,
	}
	for _, p := range c.Problems.First() {
		v.Problems = append(v.Problems, api.PolicyFileProblem(p))
	}
	if c.File != nil {
		v.Entries, v.State = len(c.File.Entries), api.PolicyFileInForce
	}
	switch {
	case c.Stale():
		v.State = api.PolicyFileLastGood
	case len(c.Problems) > 0:
		v.State = api.PolicyFileNone
	}
	return v
}

// Policies returns the effective policies of attachments.
func (r *Reaper) Policies(ctx context.Context, q api.PodQuery) (api.PolicyList, error) {
	list := api.PolicyList{Policies: []api.EffectivePolicy{}} // not null in JSON
	err := r.each(ctx, func(l *loop) { list.PolicyFile = policyFileView(&l.registry.census.PolicyFile) }, func(l *loop, ns *registered) {
		for i := range ns.records {
			rec := &ns.records[i]
			if !q.Covers(rec.Pod, rec.ContainerID) {
				continue
			}
			list.Policies = append(list.Policies, effectivePolicy(l, ns, rec, &ns.resolved[i]))
		}
	})
	slices.SortFunc(list.Policies, func(a, b api.EffectivePolicy) int {
		return compareAttachments(a.Pod, b.Pod, a.Attachment, b.Attachment)
	})
	return list, err
}

func effectivePolicy(l *loop, ns *registered, rec *state.Record, resolved *policy.Resolved) api.EffectivePolicy {
	e := api.EffectivePolicy{
		Attachment: rec.Attachment, Network: rec.Network, Pod: rec.Pod, Mode: ns.mode(), PodOverrides: rec.Layers.PodOverrides,
		Warnings: slices.Clone(rec.Warnings),
	}
	for _, p := range resolved.Problems {
		if !slices.Contains(e.Warnings, p) {
			e.Warnings = append(e.Warnings, p)
		}
	}
	if file := l.registry.census.PolicyFile.File; file != nil {
		e.Entries = file.Matching(policyfile.FactsOf(rec))
		e.PodOverrides = policyfile.Stricter(e.PodOverrides, file.PodOverrides)
	}
	e.CappedBy = l.caps.cappedBy(ns, resolved.Policies[len(resolved.Policies)-1].Mode)
	for i := range resolved.Policies {
		p := &resolved.Policies[i]
		one := api.SourcedPolicy{Policy: api.PolicyView(*p), Sources: p.Sources}
		if len(resolved.Policies) > 1 {
			one.Annotations = []string{"without", "with"}[i]
		}
		for j := range p.Rules {
			one.RuleSources = append(one.RuleSources, p.RuleSource(j))
		}
		e.Policies = append(e.Policies, one)
	}
	return e
}
